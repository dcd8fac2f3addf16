UPDATE allocations SET sequence = sequence
WHERE tenant_id = $1 AND greenpin_id = $2 AND deleted_at IS NULL AND expires_at > $3
