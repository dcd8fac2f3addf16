UPDATE endpoints SET sealed_old_secret = sealed_secret, old_secret_until = $1, sealed_secret = $2
WHERE tenant_id = $3 AND endpoint_id = $4 AND removed_at IS NULL
