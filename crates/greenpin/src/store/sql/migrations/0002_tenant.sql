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
