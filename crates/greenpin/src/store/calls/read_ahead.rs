//! Reads that the writes of a call need. Over a network they share one round trip with those of other calls.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use call::PhoneNumber;

use crate::store::allocations;
use crate::store::calls::sql;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::ReadAhead;
use crate::store::numbers;
use crate::store::numbers::NumberMode;
use crate::store::{CallSid, Store, StoreError, TenantId, Timestamp, Writer};

/// Maximum number of known numbers. With more, all are forgotten and found again.
const MAX_KNOWN_NUMBERS: usize = 65_536;
/// Maximum number of known calls. With more, all are forgotten and found again.
const MAX_KNOWN_CALLS: usize = 65_536;

/// Index keys of a call, for the reads of its writes. They may be outdated: a write also works without the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKeys {
    pub(crate) number_key: String,
    pub(crate) mode: NumberMode,
    /// Key of the caller in the indexes of the tenant; `None` without a caller, or if the key of the tenant is not loaded.
    pub(crate) caller_key: Option<String>,
}

/// Tenants and modes of the numbers of recent calls.
pub(crate) type KnownNumbers = Known<String, (TenantId, NumberMode), MAX_KNOWN_NUMBERS>;

/// Tenants of open calls, which have writers of their own on a database of several shards.
pub(crate) type KnownCalls = Known<CallSid, TenantId, MAX_KNOWN_CALLS>;

/// Rows of recent calls, at most `MAX`. They may be outdated.
pub(crate) struct Known<K, V, const MAX: usize>(Mutex<HashMap<K, V>>);

impl<K, V, const MAX: usize> Default for Known<K, V, MAX> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone, const MAX: usize> Known<K, V, MAX> {
    /// Stores a row. At the limit all others are forgotten.
    pub(super) fn insert(&self, key: K, value: V) {
        let mut known = self.rows();
        if known.len() >= MAX && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, value);
    }

    /// Forgets a row.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.rows().remove(key);
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.rows().get(key).cloned()
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallKeys {
    /// Returns the keys of a call to a number of this tenant.
    pub(crate) fn new(
        keys: &Keyring,
        number_key: String,
        (tenant, mode): (&TenantId, NumberMode),
        caller: Option<PhoneNumber>,
    ) -> Self {
        let tenant_key = keys.cached_tenant(tenant);
        let caller_key = caller
            .zip(tenant_key)
            .map(|(caller, key)| key.party_key(caller));
        Self {
            number_key,
            mode,
            caller_key,
        }
    }

    /// Returns the reads of the number of a call and of the allocations that the caller may reach.
    pub(crate) fn reads(&self, now: Timestamp) -> Vec<ReadAhead> {
        let number_key = &self.number_key;
        let mut reads = vec![ReadAhead::new(numbers::sql::NUMBER_SELECT, [number_key])];
        match (self.mode, &self.caller_key) {
            (NumberMode::Exclusive, _) => {
                let holder = allocations::sql::ALLOCATION_OF_NUMBER;
                reads.push(ReadAhead::new(holder, [number_key]));
            }
            (NumberMode::Shared, Some(caller)) => {
                let listing = allocations::sql::LISTED_CALLER_ALLOCATIONS;
                let key = (number_key, caller, now.micros());
                reads.push(ReadAhead::new(listing, key));
            }
            (NumberMode::Shared, None) => {}
        }
        reads
    }
}

impl Store {
    /// Returns the reads of a write; none on a local database, where a read costs less than its keys.
    pub(crate) fn read_ahead(&self, reads: impl FnOnce() -> Vec<ReadAhead>) -> Vec<ReadAhead> {
        match self.is_shared() {
            true => reads(),
            false => Vec::new(),
        }
    }

    /// Returns the writer of the tenant of a call; any writer if the call has no record.
    pub(crate) async fn writer_of_call(&self, call_sid: &CallSid) -> Result<&Writer, StoreError> {
        if !self.writers.is_sharded() {
            return Ok(self.writers.whole());
        }
        if let Some(tenant) = self.known_calls.get(call_sid) {
            return Ok(self.writers.tenant(&tenant));
        }
        let sid = call_sid.clone();
        let read = self.readers.look_up(move |snapshot| {
            snapshot.row(sql::CALL_TENANT, [sid.as_str()], |row| row.get("tenant_id"))
        });
        let tenant: Option<TenantId> = read.await.map_err(|error: StoreError| error)?;
        let Some(tenant) = tenant else {
            return Ok(self.writers.common());
        };
        self.known_calls.insert(call_sid.clone(), tenant.clone());
        Ok(self.writers.tenant(&tenant))
    }

    /// Returns the reads for the begin of a call.
    pub(super) fn reads_of_begin(
        &self,
        number: PhoneNumber,
        caller: Option<PhoneNumber>,
        now: Timestamp,
    ) -> Vec<ReadAhead> {
        let number_key = self.keys.number_key(number);
        // The first call to a number reads the holder of an exclusive one in vain if it is shared.
        let known = self.known_numbers.get(&number_key);
        let mode = known
            .as_ref()
            .map_or(NumberMode::Exclusive, |(_, mode)| *mode);
        let keys = match &known {
            Some((tenant, mode)) => CallKeys::new(&self.keys, number_key, (tenant, *mode), caller),
            None => CallKeys {
                number_key,
                mode,
                caller_key: None,
            },
        };
        let mut reads = keys.reads(now);
        if mode == NumberMode::Shared {
            let key = (&keys.number_key, now.micros());
            reads.push(ReadAhead::new(sql::PINS_ANY_ACTIVE, key));
        }
        reads
    }
}

/// Returns the read of a call without an end.
pub(crate) fn read_of_call(call_sid: &CallSid) -> ReadAhead {
    ReadAhead::new(sql::CALL_OPEN, [call_sid.as_str()])
}
