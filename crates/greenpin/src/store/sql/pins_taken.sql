SELECT pin FROM pins WHERE virtual_number = $1 AND free_at > $2 ORDER BY pin
