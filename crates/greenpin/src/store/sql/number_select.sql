SELECT tenant_id, mode, pin_length, max_active, held_by, held_until, strangers_left, strangers_at
FROM numbers WHERE virtual_number = $1
