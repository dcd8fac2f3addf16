SELECT n.tenant_id, n.mode, n.pin_length, n.quarantined_at, n.active, n.max_active,
       CASE WHEN EXISTS (SELECT 1 FROM pins p
                         WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until <= $1)
            THEN 1 ELSE 0 END
FROM numbers n JOIN tenants t ON t.tenant_id = n.tenant_id
WHERE n.number_key = $2 AND t.erased_at IS NULL
