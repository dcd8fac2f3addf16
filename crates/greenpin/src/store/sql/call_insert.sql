INSERT INTO calls (tenant_id, call_sid, virtual_number, greenpin_id, caller, trunk, node, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
