UPDATE calls SET dialled = $1, bridged_at = $2
WHERE call_sid = $3 AND bridged_at IS NULL AND ended_at IS NULL
