DELETE FROM numbers WHERE virtual_number = $1
