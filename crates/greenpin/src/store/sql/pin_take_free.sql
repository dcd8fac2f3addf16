INSERT INTO pins (number_key, pin_key, greenpin_id, active_until, free_at, counted)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (number_key, pin_key) DO UPDATE
SET greenpin_id = excluded.greenpin_id, active_until = excluded.active_until,
    free_at = excluded.free_at, counted = excluded.counted
