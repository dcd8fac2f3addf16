INSERT INTO idempotency_keys (tenant_id, key_digest, request_digest, taken_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, key_digest) DO UPDATE
SET request_digest = excluded.request_digest, taken_at = excluded.taken_at, status = NULL, content_type = NULL,
    answer = NULL, greenpin_id = NULL
WHERE idempotency_keys.taken_at <= $5
   OR (idempotency_keys.status IS NULL AND idempotency_keys.greenpin_id IS NULL AND idempotency_keys.taken_at <= $6
       AND idempotency_keys.request_digest = excluded.request_digest)
