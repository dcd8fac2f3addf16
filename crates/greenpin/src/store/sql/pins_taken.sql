SELECT pin_key FROM pins WHERE number_key = $1 AND free_at > $2 ORDER BY pin_key
