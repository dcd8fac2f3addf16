SELECT COUNT(*) FROM numbers WHERE tenant_id = $1
