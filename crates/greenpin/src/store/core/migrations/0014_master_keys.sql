-- One row for each master key. The newest one encrypts the keys of new tenants; `finished_at` is the time from which on
-- the database needs no earlier one. The table master_key is read in databases of earlier versions only.
CREATE TABLE master_keys (
    generation BIGINT PRIMARY KEY,
    master_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    finished_at BIGINT
);
-- The derived keys of each generation, encrypted with the master key `master_id`: with two during a rotation.
CREATE TABLE derived_keys (
    generation BIGINT NOT NULL,
    master_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (generation, master_id)
);
