SELECT endpoint_id, url, types, paused FROM endpoints
WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY endpoint_id
