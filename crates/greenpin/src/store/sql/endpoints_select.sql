SELECT endpoint_id, url, types, format, paused, old_secret_until, failing_since, disabled_at FROM endpoints
WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY endpoint_id
