//! Result of a test call, read from the record in the configured store.

use std::time::Duration;

use call::PhoneNumber;

use crate::config::Config;
use crate::server::open_store;
use crate::store::{Actor, CallFilter, CallRecord, Database, Store, TenantStore, Timestamp};

/// Time for the server to write the record after the end of the call.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two reads of the record.
const READ_PAUSE: Duration = Duration::from_millis(50);
/// Latest calls of the number that are compared with the test call.
const CALLS_PER_READ: u32 = 200;

/// Test call, as its record shows it.
pub(super) struct PlacedCall {
    /// Called number.
    pub(super) number: PhoneNumber,
    /// `Call-ID` of the phone. No other call has it.
    pub(super) call_id: String,
}

impl PlacedCall {
    /// Returns the record of the ended call; `None` if the configured store does not have it.
    pub(super) async fn record(&self, config: &Config) -> Option<CallRecord> {
        let store = self.tenant_store(config).await?;
        let read = async {
            loop {
                match self.ended_record(&store).await {
                    Some(record) => return record,
                    None => tokio::time::sleep(READ_PAUSE).await,
                }
            }
        };
        tokio::time::timeout(RECORD_TIMEOUT, read).await.ok()
    }

    /// Opens the store of the tenant that has the number. Creates no store.
    async fn tenant_store(&self, config: &Config) -> Option<TenantStore> {
        if let Database::File(file) = &config.store.database
            && !file.exists()
        {
            return None;
        }
        let store: Store = open_store(config, "").ok()?;
        let operator = store.operator(Actor::command_line());
        let found = operator
            .number(self.number, Timestamp::now())
            .await
            .ok()??;
        Some(store.tenant(found.number.tenant_id))
    }

    async fn ended_record(&self, store: &TenantStore) -> Option<CallRecord> {
        let filter = CallFilter {
            ended: Some(true),
            virtual_number: Some(self.number),
            ..CallFilter::default()
        };
        let records = store.calls(filter, None, CALLS_PER_READ).await.ok()?;
        let mut records = records.into_iter();
        records.find(|record| record.legs.caller_call_id.as_ref() == Some(&self.call_id))
    }
}
