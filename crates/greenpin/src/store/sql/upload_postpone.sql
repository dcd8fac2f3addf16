UPDATE uploads SET tries = tries + 1, due_at = $1 WHERE call_sid = $2
