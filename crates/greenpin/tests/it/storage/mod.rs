//! Databases and recordings: durability, clusters, buckets, backups, keys.

mod backup;
mod bucket;
mod cluster;
mod durability;
mod key_rotation;
mod store_move;
mod upgrade;
