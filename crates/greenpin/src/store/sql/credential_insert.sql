INSERT INTO credentials (account_sid, tenant_id, digest, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (account_sid) DO NOTHING
