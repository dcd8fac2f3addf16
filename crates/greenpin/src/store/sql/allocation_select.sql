SELECT greenpin_id, virtual_number, pin, from_numbers, to_numbers, record, custom_field, max_pin_attempts,
       failed_pin_attempts, call_count, attempt_count, created_at, updated_at, expires_at, deleted_at
FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2
