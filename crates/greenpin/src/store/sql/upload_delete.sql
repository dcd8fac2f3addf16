DELETE FROM uploads WHERE call_sid = $1
