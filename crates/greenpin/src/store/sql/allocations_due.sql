SELECT tenant_id, greenpin_id, expires_at FROM allocations
WHERE deleted_at IS NULL AND expiry_reported_at IS NULL AND expires_at <= $1
ORDER BY expires_at LIMIT $2
