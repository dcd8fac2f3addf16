SELECT call_sid FROM calls WHERE node = $1 AND ended_at IS NULL LIMIT $2
