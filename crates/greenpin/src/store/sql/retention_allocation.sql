DELETE FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2
