UPDATE numbers SET max_active = $1 WHERE virtual_number = $2
