UPDATE endpoints SET failing_since = NULL, failures = 0 WHERE endpoint_id = $1 AND failing_since IS NOT NULL
