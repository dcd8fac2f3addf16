DELETE FROM listed_callers WHERE number_key = $1
