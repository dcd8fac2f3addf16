INSERT INTO calls (tenant_id, call_sid, number_key, greenpin_id, caller_key, sealed, trunk, node, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
