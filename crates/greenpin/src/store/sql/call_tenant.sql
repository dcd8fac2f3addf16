SELECT tenant_id FROM calls WHERE call_sid = $1
