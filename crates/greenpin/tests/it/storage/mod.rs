//! Databases and recordings: durability, clusters, buckets.

mod bucket;
mod cluster;
mod durability;
mod upgrade;
