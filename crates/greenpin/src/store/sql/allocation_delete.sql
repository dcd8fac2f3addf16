UPDATE allocations SET deleted_at = $1, updated_at = $1
WHERE tenant_id = $2 AND greenpin_id = $3 AND deleted_at IS NULL
RETURNING greenpin_id
