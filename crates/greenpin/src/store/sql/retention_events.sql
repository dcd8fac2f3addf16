DELETE FROM events WHERE (tenant_id, event_id) IN (
    SELECT v.tenant_id, v.event_id FROM events v
    WHERE v.tenant_id = $1 AND v.event_id < $2
      AND NOT EXISTS (SELECT 1 FROM deliveries d
                      WHERE d.tenant_id = v.tenant_id AND d.event_id = v.event_id AND d.state IN ('waiting', 'due'))
    ORDER BY v.event_id LIMIT $3)
