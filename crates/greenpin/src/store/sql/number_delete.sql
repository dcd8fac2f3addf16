DELETE FROM numbers WHERE number_key = $1
