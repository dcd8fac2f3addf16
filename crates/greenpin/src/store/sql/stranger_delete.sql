DELETE FROM strangers WHERE number_key = $1 AND caller_key = $2
