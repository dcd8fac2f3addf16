INSERT INTO prompts (tenant_id, name, audio, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, name) DO UPDATE SET audio = excluded.audio, updated_at = excluded.updated_at
