-- Recordings that wait on a node's disk for their upload. A row outlives its call record: whoever has the file removes it.
CREATE TABLE uploads (
    call_sid TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    file TEXT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL
);
CREATE INDEX uploads_due ON uploads (node, due_at);
