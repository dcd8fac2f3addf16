UPDATE credentials SET revoked_at = $1
WHERE tenant_id = $2 AND account_sid = $3 AND (revoked_at IS NULL OR revoked_at > $1)
