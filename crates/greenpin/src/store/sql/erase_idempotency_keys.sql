DELETE FROM idempotency_keys WHERE tenant_id = $1
AND key_digest IN (SELECT k.key_digest FROM idempotency_keys k WHERE k.tenant_id = $1 LIMIT $2)
