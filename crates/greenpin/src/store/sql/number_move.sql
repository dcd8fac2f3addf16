UPDATE numbers SET tenant_id = $1, sealed = $2, active = 0, held_by = NULL, held_until = 0
WHERE number_key = $3
