SELECT suspended_at, erased_at FROM tenants WHERE tenant_id = $1
