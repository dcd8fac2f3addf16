UPDATE numbers SET max_active = $1 WHERE number_key = $2
