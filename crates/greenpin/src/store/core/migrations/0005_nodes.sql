CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    life TEXT NOT NULL,
    beat BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
