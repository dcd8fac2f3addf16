CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    key_digest TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    status BIGINT,
    content_type TEXT,
    answer TEXT,
    PRIMARY KEY (tenant_id, key_digest)
) /* SQLite: WITHOUT ROWID */;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (taken_at);
CREATE INDEX calls_with_recording ON calls (tenant_id, call_sid) WHERE recording_file IS NOT NULL;
CREATE INDEX allocations_deleted ON allocations (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX allocations_expired ON allocations (tenant_id, expires_at) WHERE expiry_reported_at IS NOT NULL;
