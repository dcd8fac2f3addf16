-- Sessions of the web console. `account_sid` and `tenant_id` are empty for the operator; `proof` is then the digest of
-- the operator token.
CREATE TABLE sessions (
    session_digest TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    proof TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_account ON sessions (account_sid, created_at);
CREATE INDEX sessions_by_use ON sessions (seen_at);
