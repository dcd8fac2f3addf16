INSERT INTO events (tenant_id, event_id, greenpin_id, type, sequence, occurred_at, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7)
