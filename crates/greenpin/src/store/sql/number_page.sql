SELECT n.virtual_number, n.tenant_id, n.mode, n.pin_length, n.max_active,
       CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
            ELSE (SELECT COUNT(*) FROM pins p
                  WHERE p.virtual_number = n.virtual_number AND p.counted = 1 AND p.active_until > $1)
       END,
       n.quarantined_at, n.created_at, n.virtual_number
FROM numbers n
WHERE ($2 = '' OR n.tenant_id = $2) AND ($3 = '' OR n.mode = $3)
  AND ($4 = '' OR $4 = CASE WHEN n.quarantined_at IS NULL THEN 'false' ELSE 'true' END)
  AND n.virtual_number > $5
ORDER BY n.virtual_number LIMIT $6
