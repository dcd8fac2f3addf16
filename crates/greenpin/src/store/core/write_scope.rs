//! Scope of a write: the rows that it excludes from other writes.
//!
//! On PostgreSQL each tenant belongs to one of a fixed number of shards, and each shard has a row that a write locks.
//! Writes of different shards do not wait for each other. The row also stores the id of the last event of the shard: the
//! event log of a tenant is in the order of its ids, whichever node writes. SQLite has one writer for everything.

use crate::store::TenantId;

/// Number of shards of tenants. Fixed: every node must put a tenant into the same shard.
pub const TENANT_SHARDS: usize = 8;
/// Shard of the rows without a tenant, such as heartbeats, sessions and the last use of credentials.
pub(crate) const COMMON_SHARD: usize = TENANT_SHARDS;

/// Rows that a write excludes from other writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteScope {
    /// Rows of one shard.
    Shard(usize),
    /// All rows.
    Whole,
}

impl WriteScope {
    /// Returns the scope of each shard.
    pub(crate) fn shards() -> impl Iterator<Item = Self> {
        (0..=COMMON_SHARD).map(Self::Shard)
    }

    /// Returns the statements that begin a transaction and take the lease.
    pub(crate) fn begin(self) -> String {
        let columns = "BEGIN; SELECT version, last_event, turns FROM writer_shards";
        match self {
            Self::Shard(shard) => format!("{columns} WHERE shard = {shard} FOR UPDATE"),
            // All take the rows in the same order, so that two of them do not wait for each other.
            Self::Whole => format!("{columns} ORDER BY shard FOR UPDATE"),
        }
    }

    /// Returns the statements that end a transaction. `cleared`: other processes must read cached rows again.
    pub(crate) fn commit(self, last_event: u128, cleared: bool) -> String {
        let cleared = i64::from(cleared);
        let update = format!(
            "UPDATE writer_shards SET version = version + {cleared}, last_event = '{last_event}', turns = turns + 1"
        );
        match self {
            Self::Shard(shard) => format!("{update} WHERE shard = {shard}; COMMIT"),
            Self::Whole => format!("{update}; COMMIT"),
        }
    }
}

/// Returns the position of the shard of a tenant: the 64-bit FNV-1a hash of its id, modulo the number of shards.
pub(crate) fn tenant_shard(tenant: &TenantId) -> usize {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = tenant.as_str().bytes().fold(BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    let shards = u64::try_from(TENANT_SHARDS).unwrap_or(1);
    usize::try_from(hash % shards).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_stays_in_its_shard() {
        let shard = |id| tenant_shard(&TenantId::parse(id).unwrap());
        let found = [
            "acme", "other", "a", "b", "c", "tenant-1", "tenant-2", "tenant-3",
        ]
        .map(shard);
        assert_eq!(found, [7, 5, 4, 5, 2, 3, 6, 1]);
    }

    #[test]
    fn tenants_spread_over_all_shards() {
        let mut counts = [0; TENANT_SHARDS];
        for number in 0..800 {
            let tenant = TenantId::parse(&format!("tenant-{number}")).unwrap();
            counts[tenant_shard(&tenant)] += 1;
        }
        assert!(
            counts.iter().all(|count| (50..200).contains(count)),
            "{counts:?}"
        );
    }
}
