SELECT greenpin_id, virtual_number, pin, from_numbers, to_numbers, record, custom_field, max_pin_attempts,
       failed_pin_attempts, call_count, attempt_count, created_at, updated_at, expires_at, deleted_at
FROM allocations
WHERE tenant_id = $1 AND greenpin_id < $2
  AND ($3 = '' OR $3 = CASE WHEN deleted_at IS NOT NULL THEN 'deleted'
                            WHEN expires_at <= $4 THEN 'expired' ELSE 'active' END)
  AND ($5 = '' OR virtual_number = $5)
  AND ($6 = '' OR ' ' || from_numbers || ' ' || to_numbers || ' ' LIKE '% ' || $6 || ' %')
  AND ($7 = 0 OR custom_field = $8)
  AND created_at >= $9 AND created_at < $10
ORDER BY greenpin_id DESC LIMIT $11
