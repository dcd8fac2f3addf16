SELECT d.endpoint_id, p.url, d.state, d.attempts, d.due_at, d.created_at, d.finished_at
FROM deliveries d LEFT JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
WHERE d.tenant_id = $1 AND d.event_id = $2 ORDER BY d.endpoint_id
