DELETE FROM pins
WHERE number_key = $1 AND pin_key = $2 AND greenpin_id = $3 AND counted = 0 AND free_at <= $4
