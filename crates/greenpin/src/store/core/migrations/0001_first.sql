-- Personal data is in columns named `sealed…`, encrypted with the tenant's key; it is found by columns named `…_key`,
-- which hold keyed hashes.
CREATE TABLE master_key (
    digest TEXT PRIMARY KEY
);
CREATE TABLE tenants (
    tenant_id TEXT PRIMARY KEY,
    settings TEXT NOT NULL,
    sealed_key TEXT,
    created_at BIGINT NOT NULL
);
CREATE TABLE credentials (
    account_sid TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX credentials_of_tenant ON credentials (tenant_id);
CREATE TABLE numbers (
    number_key TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    sealed TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('exclusive', 'shared')),
    pin_length BIGINT NOT NULL,
    max_active BIGINT NOT NULL,
    active BIGINT NOT NULL DEFAULT 0,
    held_by TEXT,
    held_until BIGINT NOT NULL DEFAULT 0,
    strangers_left BIGINT NOT NULL,
    strangers_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX numbers_of_tenant ON numbers (tenant_id, number_key);
CREATE TABLE allocations (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    greenpin_id TEXT NOT NULL,
    number_key TEXT NOT NULL,
    sealed TEXT NOT NULL,
    record BIGINT NOT NULL,
    custom_field TEXT,
    max_pin_attempts BIGINT NOT NULL,
    failed_pin_attempts BIGINT NOT NULL DEFAULT 0,
    call_count BIGINT NOT NULL DEFAULT 0,
    attempt_count BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deleted_at BIGINT,
    expiry_reported_at BIGINT,
    PRIMARY KEY (tenant_id, greenpin_id)
) /* SQLite: WITHOUT ROWID */;
CREATE INDEX allocations_of_number ON allocations (tenant_id, number_key, greenpin_id);
CREATE INDEX allocations_to_expire ON allocations (expires_at)
    WHERE deleted_at IS NULL AND expiry_reported_at IS NULL;
CREATE TABLE pins (
    number_key TEXT NOT NULL,
    pin_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    active_until BIGINT NOT NULL,
    free_at BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    PRIMARY KEY (number_key, pin_key)
) /* SQLite: WITHOUT ROWID */;
CREATE INDEX pins_counted ON pins (number_key, active_until) WHERE counted = 1;
CREATE TABLE parties (
    tenant_id TEXT NOT NULL,
    party_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, party_key, greenpin_id)
) /* SQLite: WITHOUT ROWID */;
CREATE TABLE listed_callers (
    number_key TEXT NOT NULL,
    caller_key TEXT NOT NULL,
    greenpin_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    PRIMARY KEY (number_key, caller_key, greenpin_id)
) /* SQLite: WITHOUT ROWID */;
CREATE TABLE strangers (
    number_key TEXT NOT NULL,
    caller_key TEXT NOT NULL,
    wrong_tries BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    refused_until BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (number_key, caller_key)
);
CREATE INDEX strangers_by_age ON strangers (updated_at);
CREATE TABLE calls (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    call_sid TEXT NOT NULL,
    number_key TEXT NOT NULL,
    greenpin_id TEXT,
    caller_key TEXT,
    sealed TEXT NOT NULL,
    trunk TEXT NOT NULL,
    node TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    answered_at BIGINT,
    dialled_key TEXT,
    sealed_dialled TEXT,
    dialled_at BIGINT,
    bridged_at BIGINT,
    ended_at BIGINT,
    call_type TEXT,
    dial_call_status TEXT,
    sip_cause BIGINT,
    hangup_by TEXT,
    pin_attempts BIGINT NOT NULL DEFAULT 0,
    recording_file TEXT,
    recording_ms BIGINT,
    caller_media TEXT,
    callee_media TEXT,
    PRIMARY KEY (tenant_id, call_sid)
);
CREATE UNIQUE INDEX calls_by_sid ON calls (call_sid);
CREATE INDEX calls_of_allocation ON calls (tenant_id, greenpin_id, call_sid);
CREATE INDEX calls_open ON calls (node) WHERE ended_at IS NULL;
CREATE TABLE events (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    event_id TEXT NOT NULL,
    greenpin_id TEXT,
    type TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);
CREATE TABLE endpoints (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    endpoint_id TEXT NOT NULL,
    url TEXT NOT NULL,
    types TEXT,
    sealed_secret TEXT NOT NULL,
    paused BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT,
    PRIMARY KEY (tenant_id, endpoint_id)
);
CREATE TABLE deliveries (
    tenant_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    queue TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'due', 'delivered', 'failed')),
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (tenant_id, event_id, endpoint_id)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'due';
CREATE INDEX deliveries_open ON deliveries (endpoint_id, queue, sequence) WHERE state IN ('waiting', 'due');
/* PostgreSQL:
CREATE TABLE writer_turn (version BIGINT NOT NULL, last_event TEXT NOT NULL);
INSERT INTO writer_turn (version, last_event) VALUES (0, '0');
:PostgreSQL */
