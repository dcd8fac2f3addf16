SELECT endpoint_id, begun_at, latency, status, error, sealed_answer FROM attempts
WHERE tenant_id = $1 AND event_id = $2 ORDER BY begun_at DESC LIMIT $3
