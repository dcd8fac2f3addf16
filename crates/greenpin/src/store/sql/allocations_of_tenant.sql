SELECT greenpin_id FROM allocations WHERE tenant_id = $1 LIMIT $2
