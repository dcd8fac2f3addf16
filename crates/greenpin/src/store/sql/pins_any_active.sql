SELECT 1 FROM pins WHERE number_key = $1 AND counted = 1 AND active_until > $2 LIMIT 1
