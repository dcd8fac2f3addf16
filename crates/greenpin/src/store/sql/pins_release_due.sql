UPDATE pins SET counted = 0 WHERE virtual_number = $1 AND counted = 1 AND active_until <= $2
