UPDATE credentials SET last_used_at = $1
WHERE account_sid = $2 AND (last_used_at IS NULL OR last_used_at < $1)
