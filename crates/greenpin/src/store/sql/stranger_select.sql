SELECT wrong_tries, refusals, refused_until, updated_at FROM strangers
WHERE number_key = $1 AND caller_key = $2
