INSERT INTO audit (audit_id, occurred_at, actor, act, tenant_id, object, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7)
