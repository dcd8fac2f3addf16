DELETE FROM attempts WHERE (tenant_id, event_id, endpoint_id, begun_at) IN (
    SELECT a.tenant_id, a.event_id, a.endpoint_id, a.begun_at FROM attempts a
    WHERE a.begun_at < $1 ORDER BY a.begun_at LIMIT $2)
