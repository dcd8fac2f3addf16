UPDATE numbers SET quarantined_at = $1 WHERE number_key = $2 AND quarantined_at IS NULL
