UPDATE numbers SET active = active - $1 + 1
WHERE number_key = $2 AND tenant_id = $3 AND mode = 'shared' AND active - $1 < max_active
RETURNING active, max_active
