UPDATE calls SET recording_file = NULL, recording_ms = NULL WHERE tenant_id = $1 AND call_sid = $2
