SELECT event_id, sealed FROM events WHERE tenant_id = $1 AND event_id > $2 ORDER BY event_id LIMIT $3
