UPDATE calls SET greenpin_id = $1 WHERE call_sid = $2
