INSERT INTO listed_callers (number_key, caller_key, greenpin_id, tenant_id) VALUES ($1, $2, $3, $4)
