SELECT * FROM (
    SELECT greenpin_id, sealed, record, custom_field, max_pin_attempts,
           failed_pin_attempts, call_count, attempt_count, created_at, updated_at, expires_at, deleted_at
    FROM allocations
    WHERE tenant_id = $1 AND greenpin_id < $2
    ORDER BY greenpin_id DESC LIMIT 201) AS page
ORDER BY greenpin_id DESC LIMIT $3
