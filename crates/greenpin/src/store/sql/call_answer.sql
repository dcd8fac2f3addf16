UPDATE calls SET dialled_key = $1, sealed_dialled = $2, bridged_at = $3
WHERE call_sid = $4 AND bridged_at IS NULL AND ended_at IS NULL
