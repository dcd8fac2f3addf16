DELETE FROM strangers WHERE virtual_number = $1 AND caller = $2
