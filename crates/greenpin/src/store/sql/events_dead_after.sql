SELECT v.event_id, v.sealed FROM events v
WHERE v.tenant_id = $1 AND v.event_id IN (
    SELECT DISTINCT d.event_id FROM deliveries d
    JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
    WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.state = 'failed' AND p.removed_at IS NULL
      AND ($3 = '' OR d.endpoint_id = $3)
    ORDER BY d.event_id LIMIT $4)
ORDER BY v.event_id
