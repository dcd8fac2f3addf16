UPDATE allocations SET failed_pin_attempts = 0, updated_at = $1 WHERE tenant_id = $2 AND greenpin_id = $3
