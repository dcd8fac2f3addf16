SELECT c.greenpin_id, a.max_pin_attempts
FROM listed_callers c
JOIN allocations a ON a.tenant_id = c.tenant_id AND a.greenpin_id = c.greenpin_id
WHERE c.number_key = $1 AND c.caller_key = $2 AND a.deleted_at IS NULL AND a.expires_at > $3
ORDER BY c.greenpin_id
