//! Databases and recordings: durability, clusters, buckets, keys.

mod bucket;
mod cluster;
mod durability;
mod key_rotation;
