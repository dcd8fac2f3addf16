ALTER TABLE deliveries ADD COLUMN tried_at BIGINT;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE state = 'due';
CREATE UNIQUE INDEX endpoints_by_id ON endpoints (endpoint_id);
CREATE TABLE attempts (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    event_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    latency BIGINT NOT NULL,
    status BIGINT,
    error TEXT,
    sealed_answer TEXT NOT NULL,
    PRIMARY KEY (tenant_id, event_id, endpoint_id, begun_at)
) /* SQLite: WITHOUT ROWID */;
CREATE INDEX attempts_by_age ON attempts (begun_at);
CREATE INDEX deliveries_dead ON deliveries (tenant_id, event_id) WHERE state = 'failed';
ALTER TABLE endpoints ADD COLUMN format TEXT NOT NULL DEFAULT 'standard';
ALTER TABLE endpoints ADD COLUMN sealed_old_secret TEXT;
ALTER TABLE endpoints ADD COLUMN old_secret_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN failing_since BIGINT;
ALTER TABLE endpoints ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN disabled_at BIGINT;
ALTER TABLE deliveries ADD COLUMN claimed_by TEXT;
