UPDATE numbers SET held_by = $1, held_until = $2
WHERE number_key = $3 AND tenant_id = $4 AND mode = 'exclusive' AND held_until <= $5
