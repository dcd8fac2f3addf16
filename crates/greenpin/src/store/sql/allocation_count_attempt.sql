UPDATE allocations SET attempt_count = attempt_count + 1 WHERE tenant_id = $1 AND greenpin_id = $2
