DELETE FROM pins WHERE number_key = $1
AND pin_key IN (SELECT p.pin_key FROM pins p WHERE p.number_key = $1 LIMIT $2)
