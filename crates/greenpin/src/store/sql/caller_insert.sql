INSERT INTO listed_callers (virtual_number, caller, greenpin_id, tenant_id) VALUES ($1, $2, $3, $4)
