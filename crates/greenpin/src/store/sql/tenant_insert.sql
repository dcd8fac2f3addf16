INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id) DO NOTHING
