UPDATE tenants SET settings = $1 WHERE tenant_id = $2
