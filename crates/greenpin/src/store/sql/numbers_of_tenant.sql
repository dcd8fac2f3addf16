SELECT number_key FROM numbers WHERE tenant_id = $1 LIMIT $2
