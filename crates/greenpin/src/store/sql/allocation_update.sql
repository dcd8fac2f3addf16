UPDATE allocations SET sealed = $1, record = $2, custom_field = $3, max_pin_attempts = $4, expires_at = $5,
       updated_at = $6
WHERE tenant_id = $7 AND greenpin_id = $8
