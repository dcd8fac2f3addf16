SELECT 1 FROM numbers WHERE virtual_number = $1
