UPDATE endpoints SET disabled_at = NULL, failing_since = NULL, failures = 0
WHERE tenant_id = $1 AND endpoint_id = $2 AND removed_at IS NULL
