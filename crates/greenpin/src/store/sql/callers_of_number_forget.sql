DELETE FROM listed_callers WHERE virtual_number = $1
