SELECT t.tenant_id, t.settings, t.created_at,
       (SELECT COUNT(*) FROM numbers n WHERE n.tenant_id = t.tenant_id)
FROM tenants t ORDER BY t.tenant_id
