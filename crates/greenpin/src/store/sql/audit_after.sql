SELECT audit_id, occurred_at, actor, act, tenant_id, object, request_id
FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2
