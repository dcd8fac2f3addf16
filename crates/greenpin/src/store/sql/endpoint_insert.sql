INSERT INTO endpoints (tenant_id, endpoint_id, url, types, format, sealed_secret, paused, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
