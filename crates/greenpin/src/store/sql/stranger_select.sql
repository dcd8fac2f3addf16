SELECT wrong_tries, refusals, refused_until, updated_at FROM strangers
WHERE virtual_number = $1 AND caller = $2
