DELETE FROM strangers WHERE virtual_number = $1
