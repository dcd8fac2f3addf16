UPDATE numbers SET mode = $1, pin_length = $2, max_active = $3, active = 0, held_by = NULL, held_until = 0
WHERE number_key = $4
