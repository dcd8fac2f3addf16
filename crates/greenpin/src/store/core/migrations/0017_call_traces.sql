-- The trace of a call: its masked SIP messages, decisions and media facts, compressed and encrypted.
CREATE TABLE call_traces (
    tenant_id TEXT NOT NULL,
    call_sid TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, call_sid)
);
