UPDATE numbers SET tenant_id = $1, active = 0, held_by = NULL, held_until = 0 WHERE virtual_number = $2
