SELECT sealed_key FROM tenants WHERE tenant_id = $1
