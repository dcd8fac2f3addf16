DELETE FROM events WHERE tenant_id = $1
AND event_id IN (SELECT v.event_id FROM events v WHERE v.tenant_id = $1 LIMIT $2)
