SELECT event_id FROM events WHERE tenant_id = $1 ORDER BY event_id DESC LIMIT $2
