UPDATE endpoints SET removed_at = $1 WHERE tenant_id = $2 AND endpoint_id = $3
