UPDATE idempotency_keys SET status = $1, content_type = $2, answer = $3
WHERE tenant_id = $4 AND key_digest = $5 AND taken_at = $6 AND status IS NULL
