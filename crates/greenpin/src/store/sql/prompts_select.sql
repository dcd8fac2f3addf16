SELECT name, audio, updated_at FROM prompts WHERE tenant_id = $1 ORDER BY name
