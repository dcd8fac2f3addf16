UPDATE pins SET active_until = $1, free_at = $2, counted = 0
WHERE virtual_number = $3 AND pin = $4 AND greenpin_id = $5
