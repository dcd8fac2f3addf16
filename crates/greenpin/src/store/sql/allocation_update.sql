UPDATE allocations SET from_numbers = $1, to_numbers = $2, record = $3, custom_field = $4, max_pin_attempts = $5,
       expires_at = $6, updated_at = $7
WHERE tenant_id = $8 AND greenpin_id = $9
