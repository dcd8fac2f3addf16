SELECT account_sid, label, created_at, last_used_at, revoked_at
FROM credentials WHERE tenant_id = $1 AND account_sid = $2
