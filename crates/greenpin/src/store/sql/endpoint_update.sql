UPDATE endpoints SET url = $1, types = $2, paused = $3 WHERE tenant_id = $4 AND endpoint_id = $5
