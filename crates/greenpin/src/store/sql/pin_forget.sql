DELETE FROM pins WHERE number_key = $1 AND pin_key = $2 AND greenpin_id = $3
