DELETE FROM endpoints WHERE tenant_id = $1
