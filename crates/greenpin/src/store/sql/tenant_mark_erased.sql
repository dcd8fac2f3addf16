UPDATE tenants SET erased_at = $1 WHERE tenant_id = $2 AND erased_at IS NULL
