UPDATE deliveries SET state = $1, finished_at = $2
WHERE tenant_id = $3 AND event_id = $4 AND endpoint_id = $5 AND created_at = $6 AND state = 'due'
