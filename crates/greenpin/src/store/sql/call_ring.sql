UPDATE calls SET dialled = $1, dialled_at = COALESCE(dialled_at, $2) WHERE call_sid = $3 AND ended_at IS NULL
