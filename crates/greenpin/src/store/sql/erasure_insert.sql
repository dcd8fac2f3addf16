INSERT INTO erasures (tenant_id, erasure_id, begun_at, erased) VALUES ($1, $2, $3, $4)
