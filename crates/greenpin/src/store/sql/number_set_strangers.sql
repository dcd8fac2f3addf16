UPDATE numbers SET strangers_left = $1, strangers_at = $2 WHERE number_key = $3
