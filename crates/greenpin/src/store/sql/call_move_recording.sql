UPDATE calls SET recording_file = $1 WHERE call_sid = $2 AND recording_file = $3
