SELECT n.virtual_number, n.tenant_id, n.mode, n.pin_length, n.max_active,
       CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
            ELSE (SELECT COUNT(*) FROM pins p
                  WHERE p.virtual_number = n.virtual_number AND p.counted = 1 AND p.active_until > $1)
       END,
       n.quarantined_at, n.created_at, n.virtual_number
FROM numbers n WHERE n.virtual_number = $2
