SELECT settings FROM tenants WHERE tenant_id = $1
