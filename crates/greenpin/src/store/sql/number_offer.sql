SELECT n.tenant_id, n.mode, n.pin_length, n.quarantined_at, n.active, n.max_active,
       (SELECT MIN(p.active_until) FROM pins p WHERE p.number_key = n.number_key AND p.counted = 1), n.held_until
FROM numbers n JOIN tenants t ON t.tenant_id = n.tenant_id
WHERE n.number_key = $1 AND t.erased_at IS NULL
