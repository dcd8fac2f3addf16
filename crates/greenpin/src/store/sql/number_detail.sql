SELECT n.sealed, n.number_key, n.tenant_id, n.mode, n.pin_length, n.max_active,
       CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
            ELSE (SELECT COUNT(*) FROM pins p
                  WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
       END,
       n.quarantined_at, n.created_at, n.number_key
FROM numbers n WHERE n.number_key = $2
