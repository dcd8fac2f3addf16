INSERT INTO attempts (tenant_id, event_id, endpoint_id, begun_at, latency, status, error, sealed_answer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, event_id, endpoint_id, begun_at) DO NOTHING
