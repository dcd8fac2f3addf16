UPDATE allocations SET failed_pin_attempts = failed_pin_attempts + 1
WHERE tenant_id = $1 AND greenpin_id = $2 AND failed_pin_attempts < max_pin_attempts
  AND deleted_at IS NULL AND expires_at > $3
RETURNING failed_pin_attempts, max_pin_attempts
