UPDATE tenants SET suspended_at = $1 WHERE tenant_id = $2 AND suspended_at IS NULL
