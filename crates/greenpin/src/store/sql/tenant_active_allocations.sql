SELECT COUNT(*) FROM allocations WHERE tenant_id = $1 AND deleted_at IS NULL AND expires_at > $2
