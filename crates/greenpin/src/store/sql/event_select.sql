SELECT type, sequence, greenpin_id FROM events WHERE tenant_id = $1 AND event_id = $2
