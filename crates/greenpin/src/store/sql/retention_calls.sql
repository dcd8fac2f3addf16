DELETE FROM calls WHERE (tenant_id, call_sid) IN (
    SELECT c.tenant_id, c.call_sid FROM calls c
    WHERE c.tenant_id = $1 AND c.call_sid < $2 AND c.ended_at < $3 AND c.recording_file IS NULL
    ORDER BY c.call_sid LIMIT $4)
