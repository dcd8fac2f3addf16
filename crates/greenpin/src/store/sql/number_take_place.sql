UPDATE numbers SET active = $1 WHERE number_key = $2
