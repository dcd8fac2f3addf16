ALTER TABLE tenants ADD COLUMN suspended_at BIGINT;
ALTER TABLE tenants ADD COLUMN erased_at BIGINT;
ALTER TABLE credentials ADD COLUMN label TEXT;
ALTER TABLE credentials ADD COLUMN last_used_at BIGINT;
ALTER TABLE numbers ADD COLUMN quarantined_at BIGINT;
CREATE TABLE erasures (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    erasure_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    finished_at BIGINT,
    erased TEXT NOT NULL
);
CREATE TABLE audit (
    audit_id TEXT PRIMARY KEY,
    occurred_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    tenant_id TEXT,
    object TEXT,
    request_id TEXT
);
