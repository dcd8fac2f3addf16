UPDATE calls SET recording_file = $1, recording_ms = $2 WHERE call_sid = $3 AND recording_file IS NULL
