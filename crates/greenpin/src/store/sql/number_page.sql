SELECT n.sealed, n.number_key, n.tenant_id, n.mode, n.pin_length, n.max_active,
       CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
            ELSE (SELECT COUNT(*) FROM pins p
                  WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
       END,
       n.quarantined_at, n.created_at, n.number_key
FROM numbers n
WHERE ($2 = '' OR n.tenant_id = $2) AND ($3 = '' OR n.mode = $3)
  AND ($4 = '' OR $4 = CASE WHEN n.quarantined_at IS NULL THEN 'false' ELSE 'true' END)
  AND n.number_key > $5
ORDER BY n.number_key LIMIT $6
