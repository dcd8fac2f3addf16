SELECT event_id, type, sequence, greenpin_id FROM events
WHERE tenant_id = $1 AND event_id > $2 AND event_id < $3 ORDER BY event_id LIMIT $4
