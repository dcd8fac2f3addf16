UPDATE endpoints SET disabled_at = $1 WHERE endpoint_id = $2
