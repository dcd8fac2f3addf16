DELETE FROM credentials WHERE tenant_id = $1
