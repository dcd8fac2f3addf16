DELETE FROM pins WHERE virtual_number = $1
AND pin IN (SELECT p.pin FROM pins p WHERE p.virtual_number = $1 LIMIT $2)
