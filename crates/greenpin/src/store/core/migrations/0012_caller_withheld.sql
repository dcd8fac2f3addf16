-- The caller of a call asked to be hidden from the called party: its number is matched and not shown to the tenant.
ALTER TABLE calls ADD COLUMN caller_withheld BIGINT NOT NULL DEFAULT 0;
