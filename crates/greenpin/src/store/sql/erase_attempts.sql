DELETE FROM attempts WHERE tenant_id = $1
AND (event_id, endpoint_id, begun_at) IN
    (SELECT a.event_id, a.endpoint_id, a.begun_at FROM attempts a WHERE a.tenant_id = $1 LIMIT $2)
