UPDATE allocations SET sealed = $1, updated_at = $2 WHERE tenant_id = $3 AND greenpin_id = $4
