DELETE FROM idempotency_keys WHERE (tenant_id, key_digest) IN (
    SELECT k.tenant_id, k.key_digest FROM idempotency_keys k WHERE k.taken_at <= $1 ORDER BY k.taken_at LIMIT $2)
