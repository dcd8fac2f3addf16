SELECT t.tenant_id, t.settings, t.created_at, t.suspended_at, t.erased_at,
       (SELECT COUNT(*) FROM numbers n WHERE n.tenant_id = t.tenant_id),
       (SELECT COUNT(*) FROM credentials c WHERE c.tenant_id = t.tenant_id
        AND (c.revoked_at IS NULL OR c.revoked_at > $1)),
       (SELECT COUNT(*) FROM erasures e WHERE e.tenant_id = t.tenant_id AND e.finished_at IS NULL)
FROM tenants t WHERE t.tenant_id = $2
