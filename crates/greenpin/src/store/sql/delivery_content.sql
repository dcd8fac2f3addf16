SELECT v.sealed, p.url, p.format, p.sealed_secret, p.sealed_old_secret, p.old_secret_until, p.removed_at
FROM events v JOIN endpoints p ON p.tenant_id = v.tenant_id
WHERE v.tenant_id = $1 AND v.event_id = $2 AND p.endpoint_id = $3
