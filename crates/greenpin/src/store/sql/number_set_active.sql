UPDATE numbers SET active = $1 WHERE virtual_number = $2
