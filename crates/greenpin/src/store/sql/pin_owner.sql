SELECT greenpin_id FROM pins WHERE number_key = $1 AND pin_key = $2 AND active_until > $3
