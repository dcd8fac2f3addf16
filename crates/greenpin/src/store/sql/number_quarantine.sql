UPDATE numbers SET quarantined_at = $1 WHERE virtual_number = $2 AND quarantined_at IS NULL
