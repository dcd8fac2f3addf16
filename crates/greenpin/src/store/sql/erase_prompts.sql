DELETE FROM prompts WHERE tenant_id = $1
AND name IN (SELECT p.name FROM prompts p WHERE p.tenant_id = $1 LIMIT $2)
