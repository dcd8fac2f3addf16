UPDATE numbers SET held_by = $1, held_until = $2 WHERE number_key = $3
