INSERT INTO credentials (account_sid, tenant_id, digest, created_at, label) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account_sid) DO NOTHING
