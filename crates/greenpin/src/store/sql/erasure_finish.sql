UPDATE erasures SET finished_at = $1 WHERE tenant_id = $2
