SELECT call_sid, recording_file FROM calls
WHERE tenant_id = $1 AND call_sid < $2 AND ended_at < $3 AND recording_file IS NOT NULL
ORDER BY call_sid LIMIT $4
