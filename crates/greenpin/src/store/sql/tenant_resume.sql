UPDATE tenants SET suspended_at = NULL WHERE tenant_id = $1 AND suspended_at IS NOT NULL
