SELECT virtual_number FROM numbers WHERE tenant_id = $1 LIMIT $2
