UPDATE deliveries SET due_at = $1, claimed_by = NULL
WHERE tenant_id = $2 AND event_id = $3 AND endpoint_id = $4 AND created_at = $5 AND state = 'due'
