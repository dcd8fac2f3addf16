UPDATE calls SET dialled_key = $1, sealed_dialled = $2, dialled_at = COALESCE(dialled_at, $3)
WHERE call_sid = $4 AND ended_at IS NULL
