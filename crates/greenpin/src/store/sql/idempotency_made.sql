UPDATE idempotency_keys SET greenpin_id = $1 WHERE tenant_id = $2 AND key_digest = $3 AND taken_at = $4
