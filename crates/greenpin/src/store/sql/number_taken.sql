SELECT 1 FROM numbers WHERE number_key = $1
