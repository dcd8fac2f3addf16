UPDATE numbers SET held_until = $1 WHERE number_key = $2 AND held_by = $3
