DELETE FROM listed_callers WHERE virtual_number = $1 AND caller = $2 AND greenpin_id = $3
