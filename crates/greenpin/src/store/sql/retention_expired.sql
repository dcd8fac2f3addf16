SELECT greenpin_id FROM allocations
WHERE tenant_id = $1 AND expires_at < $2 AND expiry_reported_at IS NOT NULL
ORDER BY expires_at LIMIT $3
