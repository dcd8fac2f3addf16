SELECT request_digest, status, content_type, answer, greenpin_id FROM idempotency_keys
WHERE tenant_id = $1 AND key_digest = $2
