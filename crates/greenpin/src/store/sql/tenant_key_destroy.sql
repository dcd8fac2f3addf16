UPDATE tenants SET sealed_key = NULL, settings = $1 WHERE tenant_id = $2
