SELECT greenpin_id FROM pins WHERE virtual_number = $1 AND pin = $2 AND active_until > $3
