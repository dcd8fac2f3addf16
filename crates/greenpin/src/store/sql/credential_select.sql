SELECT c.tenant_id, c.digest, t.suspended_at
FROM credentials c JOIN tenants t ON t.tenant_id = c.tenant_id
WHERE c.account_sid = $1 AND (c.revoked_at IS NULL OR c.revoked_at > $2) AND t.erased_at IS NULL
