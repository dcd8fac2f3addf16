UPDATE numbers SET held_by = NULL, held_until = 0 WHERE virtual_number = $1 AND held_by = $2
