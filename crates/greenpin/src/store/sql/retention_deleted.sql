SELECT greenpin_id FROM allocations WHERE tenant_id = $1 AND deleted_at < $2 ORDER BY deleted_at LIMIT $3
