INSERT INTO pins (number_key, pin_key, greenpin_id, active_until, free_at, counted)
VALUES ($1, $2, $3, $4, $5, $6)
