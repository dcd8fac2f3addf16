SELECT n.sealed, n.number_key, n.tenant_id, n.mode, n.pin_length, n.max_active,
       CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
            ELSE (SELECT COUNT(*) FROM pins p
                  WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
       END,
       COALESCE(CASE WHEN n.mode = 'exclusive'
                     THEN (SELECT a.max_pin_attempts FROM allocations a
                           WHERE a.tenant_id = n.tenant_id AND a.greenpin_id = n.held_by AND n.held_until > $1)
                     ELSE (SELECT MAX(a.max_pin_attempts) FROM pins p
                           JOIN allocations a ON a.tenant_id = n.tenant_id AND a.greenpin_id = p.greenpin_id
                           WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
                END, 0)
FROM numbers n WHERE n.tenant_id = $2 ORDER BY n.number_key
