UPDATE erasures SET erased = $1 WHERE tenant_id = $2
