UPDATE allocations SET sequence = sequence + 1 WHERE tenant_id = $1 AND greenpin_id = $2
RETURNING sequence, custom_field
