SELECT v.event_id, v.sealed FROM events v
WHERE v.tenant_id = $1 AND v.event_id IN (
    SELECT d.event_id FROM deliveries d
    WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.endpoint_id = $3
    ORDER BY d.event_id LIMIT $4)
ORDER BY v.event_id
