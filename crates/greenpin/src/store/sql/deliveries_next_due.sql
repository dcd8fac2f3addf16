SELECT d.due_at FROM deliveries d
JOIN endpoints e ON e.tenant_id = d.tenant_id AND e.endpoint_id = d.endpoint_id
WHERE d.state = 'due' AND (e.paused = 0 OR e.removed_at IS NOT NULL)
ORDER BY d.due_at LIMIT 1
