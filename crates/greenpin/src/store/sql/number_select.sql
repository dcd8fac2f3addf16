SELECT tenant_id, mode, pin_length, held_by, held_until, strangers_left, strangers_at
FROM numbers WHERE number_key = $1
