UPDATE numbers SET quarantined_at = NULL WHERE number_key = $1 AND quarantined_at IS NOT NULL
