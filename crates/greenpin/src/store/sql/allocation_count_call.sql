UPDATE allocations SET call_count = call_count + 1 WHERE tenant_id = $1 AND greenpin_id = $2
