UPDATE endpoints SET failing_since = COALESCE(failing_since, $1), failures = failures + 1
WHERE endpoint_id = $2 AND disabled_at IS NULL AND removed_at IS NULL
RETURNING failing_since, failures, url
