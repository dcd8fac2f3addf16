UPDATE numbers SET active = active WHERE virtual_number = $1 AND tenant_id = $2 AND mode = 'shared'
RETURNING active
