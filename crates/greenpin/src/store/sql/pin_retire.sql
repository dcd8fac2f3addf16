UPDATE pins SET active_until = $1, free_at = $2, counted = 0
WHERE number_key = $3 AND pin_key = $4 AND greenpin_id = $5
