SELECT call_sid, tenant_id FROM calls WHERE node = $1 AND ended_at IS NULL
