-- An unlisted caller whose PIN was right has a budget of wrong PINs of its own until `own_until`.
ALTER TABLE strangers ADD COLUMN own_left BIGINT NOT NULL DEFAULT 0;
ALTER TABLE strangers ADD COLUMN own_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE strangers ADD COLUMN own_until BIGINT NOT NULL DEFAULT 0;
-- Budgets of wrong PINs of the trunks and of the blocks of numbers that unlisted callers of a number come from.
CREATE TABLE caller_sources (
    number_key TEXT NOT NULL,
    source_key TEXT NOT NULL,
    budget_left BIGINT NOT NULL,
    budget_at BIGINT NOT NULL,
    PRIMARY KEY (number_key, source_key)
);
CREATE INDEX caller_sources_by_age ON caller_sources (budget_at);
