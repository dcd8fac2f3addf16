INSERT INTO tenants (tenant_id, settings, sealed_key, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO NOTHING
