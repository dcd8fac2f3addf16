UPDATE calls SET pin_attempts = pin_attempts + 1 WHERE call_sid = $1 AND ended_at IS NULL
