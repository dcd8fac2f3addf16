UPDATE allocations SET expiry_reported_at = $1
WHERE tenant_id = $2 AND greenpin_id = $3 AND expiry_reported_at IS NULL AND deleted_at IS NULL
