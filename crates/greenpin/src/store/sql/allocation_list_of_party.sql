SELECT greenpin_id, sealed, record, custom_field, max_pin_attempts,
       failed_pin_attempts, call_count, attempt_count, created_at, updated_at, expires_at, deleted_at
FROM allocations
WHERE tenant_id = $1 AND greenpin_id < $2 AND greenpin_id >= $3
  AND ($4 = '' OR $4 = CASE WHEN deleted_at IS NOT NULL THEN 'deleted'
                            WHEN expires_at <= $5 THEN 'expired' ELSE 'active' END)
  AND ($6 = 0 OR custom_field = $7)
  AND created_at >= $8 AND created_at < $9
  AND ($10 = '' OR number_key = $10)
  AND greenpin_id IN (SELECT p.greenpin_id FROM parties p
                      WHERE p.tenant_id = $1 AND p.party_key = $11 AND p.greenpin_id < $2)
ORDER BY greenpin_id DESC LIMIT $12
