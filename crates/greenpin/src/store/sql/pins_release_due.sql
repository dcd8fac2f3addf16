UPDATE pins SET counted = 0 WHERE number_key = $1 AND counted = 1 AND active_until <= $2
