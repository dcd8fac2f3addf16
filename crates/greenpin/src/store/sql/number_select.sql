SELECT n.tenant_id, n.mode, n.pin_length, n.held_by, n.held_until, n.strangers_left, n.strangers_at, t.suspended_at
FROM numbers n JOIN tenants t ON t.tenant_id = n.tenant_id
WHERE n.number_key = $1 AND t.erased_at IS NULL
