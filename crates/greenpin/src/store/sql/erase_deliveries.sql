DELETE FROM deliveries WHERE tenant_id = $1
AND (event_id, endpoint_id) IN
    (SELECT d.event_id, d.endpoint_id FROM deliveries d WHERE d.tenant_id = $1 LIMIT $2)
