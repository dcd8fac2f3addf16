UPDATE endpoints SET url = $1, types = $2, format = $3, paused = $4,
    disabled_at = NULL, failing_since = NULL, failures = 0
WHERE tenant_id = $5 AND endpoint_id = $6
