DELETE FROM pins
WHERE virtual_number = $1 AND pin = $2 AND greenpin_id = $3 AND counted = 0 AND free_at <= $4
