DELETE FROM listed_callers WHERE number_key = $1 AND caller_key = $2 AND greenpin_id = $3
