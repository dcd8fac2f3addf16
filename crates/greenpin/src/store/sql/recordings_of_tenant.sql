SELECT call_sid, recording_file FROM calls
WHERE tenant_id = $1 AND recording_file IS NOT NULL AND call_sid > $2 ORDER BY call_sid LIMIT $3
