UPDATE numbers SET quarantined_at = NULL WHERE virtual_number = $1 AND quarantined_at IS NOT NULL
