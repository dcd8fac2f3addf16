SELECT tenant_id, settings FROM tenants WHERE erased_at IS NULL
