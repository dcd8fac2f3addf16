DELETE FROM deliveries WHERE (tenant_id, event_id, endpoint_id) IN (
    SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
    WHERE d.tenant_id = $1 AND d.event_id < $2 AND d.state IN ('delivered', 'failed')
    ORDER BY d.event_id LIMIT $3)
