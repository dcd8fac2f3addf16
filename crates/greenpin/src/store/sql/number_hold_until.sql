UPDATE numbers SET held_until = $1 WHERE virtual_number = $2 AND held_by = $3
