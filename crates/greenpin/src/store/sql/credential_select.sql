SELECT tenant_id, digest FROM credentials WHERE account_sid = $1 AND revoked_at IS NULL
