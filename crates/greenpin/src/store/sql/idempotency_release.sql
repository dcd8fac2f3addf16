DELETE FROM idempotency_keys
WHERE tenant_id = $1 AND key_digest = $2 AND taken_at = $3 AND status IS NULL
