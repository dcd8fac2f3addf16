-- One row for each shard of tenants, and one for the rows without a tenant (8): writers of different shards do not wait
-- for each other.
/* PostgreSQL:
CREATE TABLE writer_shards (
    shard BIGINT PRIMARY KEY,
    version BIGINT NOT NULL,
    last_event TEXT NOT NULL,
    turns BIGINT NOT NULL
) WITH (fillfactor = 50);
INSERT INTO writer_shards (shard, version, last_event, turns)
    SELECT shard, version, last_event, turns FROM writer_turn, generate_series(0, 8) AS shard;
DROP TABLE writer_turn;
:PostgreSQL */
