UPDATE numbers SET held_by = NULL, held_until = 0 WHERE number_key = $1 AND held_by = $2
