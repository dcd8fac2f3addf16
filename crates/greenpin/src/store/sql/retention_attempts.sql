DELETE FROM attempts WHERE (tenant_id, event_id, endpoint_id, begun_at) IN (
    SELECT a.tenant_id, a.event_id, a.endpoint_id, a.begun_at FROM attempts a
    WHERE a.tenant_id = $1 AND a.event_id < $2
      AND NOT EXISTS (SELECT 1 FROM deliveries d
                      WHERE d.tenant_id = a.tenant_id AND d.event_id = a.event_id
                        AND d.endpoint_id = a.endpoint_id AND d.state IN ('waiting', 'due'))
    ORDER BY a.event_id LIMIT $3)
