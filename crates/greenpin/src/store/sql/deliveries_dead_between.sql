SELECT d.event_id, d.endpoint_id FROM deliveries d
WHERE d.tenant_id = $1 AND d.event_id >= $2 AND d.event_id <= $3 AND d.state = 'failed'
