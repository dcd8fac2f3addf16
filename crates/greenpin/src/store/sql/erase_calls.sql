DELETE FROM calls WHERE tenant_id = $1
AND call_sid IN (SELECT c.call_sid FROM calls c WHERE c.tenant_id = $1 LIMIT $2)
