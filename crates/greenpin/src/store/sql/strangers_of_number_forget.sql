DELETE FROM strangers WHERE number_key = $1
