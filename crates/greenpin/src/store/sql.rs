//! Every statement, by name. The texts are files that SQLite and PostgreSQL both run: parameters are numbered in the
//! order of their first appearance, values are text and 64-bit integers, times are microseconds since the epoch.

use super::OpenError;

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("sql/", $file, ".sql"));)*

        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

statements! {
    MASTER_KEY_INSERT = "master_key_insert";
    MASTER_KEY_SELECT = "master_key_select";
    TENANT_INSERT = "tenant_insert";
    TENANT_KEY = "tenant_key";
    TENANT_SETTINGS = "tenant_settings";
    TENANTS_SETTINGS = "tenants_settings";
    TENANT_SETTINGS_UPDATE = "tenant_settings_update";
    CREDENTIAL_INSERT = "credential_insert";
    CREDENTIAL_SELECT = "credential_select";
    NUMBER_INSERT = "number_insert";
    NUMBER_LIST = "number_list";
    NUMBER_SELECT = "number_select";
    NUMBER_HOLD = "number_hold";
    NUMBER_RELEASE = "number_release";
    PROMPTS_SELECT = "prompts_select";
    PROMPT_PUT = "prompt_put";
    PROMPT_DELETE = "prompt_delete";
    ERASE_PROMPTS = "erase_prompts";
    NODE_SELECT = "node_select";
    NODES_SELECT = "nodes_select";
    NODE_JOIN = "node_join";
    NODE_BEAT = "node_beat";
    NODE_LEAVE = "node_leave";
    NUMBER_OFFER = "number_offer";
    NUMBER_TAKE_PLACE = "number_take_place";
    NUMBER_SET_STRANGERS = "number_set_strangers";
    UPLOAD_INSERT = "upload_insert";
    UPLOADS_DUE = "uploads_due";
    UPLOAD_DELETE = "upload_delete";
    UPLOAD_POSTPONE = "upload_postpone";
    UPLOADS_COUNT = "uploads_count";
    CALL_MOVE_RECORDING = "call_move_recording";
    PIN_TAKE = "pin_take";
    PIN_INSERT = "pin_insert";
    PIN_TAKE_FREE = "pin_take_free";
    PINS_TAKEN = "pins_taken";
    PINS_RELEASE_DUE = "pins_release_due";
    PIN_END = "pin_end";
    PIN_OWNER = "pin_owner";
    PINS_ANY_ACTIVE = "pins_any_active";
    ALLOCATION_INSERT = "allocation_insert";
    ALLOCATION_SELECT = "allocation_select";
    ALLOCATION_PAGE = "allocation_page";
    ALLOCATION_LIST = "allocation_list";
    ALLOCATION_LIST_OF_NUMBER = "allocation_list_of_number";
    ALLOCATION_LIST_OF_PARTY = "allocation_list_of_party";
    ALLOCATION_DELETE = "allocation_delete";
    ALLOCATION_NEXT_SEQUENCE = "allocation_next_sequence";
    ALLOCATION_COUNT_ATTEMPT = "allocation_count_attempt";
    ALLOCATION_COUNT_CALL = "allocation_count_call";
    ALLOCATION_CHARGE = "allocation_charge";
    ALLOCATION_REFUND = "allocation_refund";
    ALLOCATIONS_DUE = "allocations_due";
    ALLOCATION_MARK_EXPIRED = "allocation_mark_expired";
    PARTY_INSERT = "party_insert";
    PARTY_DELETE = "party_delete";
    ALLOCATION_BEGIN_CHANGE = "allocation_begin_change";
    ALLOCATION_UPDATE = "allocation_update";
    ALLOCATION_UNLOCK = "allocation_unlock";
    ALLOCATION_SET_PIN = "allocation_set_pin";
    PIN_RETIRE = "pin_retire";
    NUMBER_CAPACITIES = "number_capacities";
    NUMBER_HOLD_UNTIL = "number_hold_until";
    PIN_PROLONG = "pin_prolong";
    CALLER_INSERT = "caller_insert";
    CALLER_DELETE = "caller_delete";
    CALLERS_SELECT = "callers_select";
    STRANGER_SELECT = "stranger_select";
    STRANGER_PUT = "stranger_put";
    STRANGER_DELETE = "stranger_delete";
    STRANGERS_FORGET = "strangers_forget";
    CALL_INSERT = "call_insert";
    CALL_BY_SID = "call_by_sid";
    CALL_TENANT = "call_tenant";
    CALL_SELECT = "call_select";
    CALLS_OF_ALLOCATION = "calls_of_allocation";
    CALLS_LIST = "calls_list";
    CALLS_LIST_OF_ALLOCATION = "calls_list_of_allocation";
    CALLS_OPEN = "calls_open";
    CALL_COUNT_TRY = "call_count_try";
    CALL_ACCEPT = "call_accept";
    CALL_RING = "call_ring";
    CALL_ANSWER = "call_answer";
    CALL_END = "call_end";
    CALL_SET_RECORDING = "call_set_recording";
    EVENT_INSERT = "event_insert";
    EVENTS_AFTER = "events_after";
    EVENT_SELECT = "event_select";
    DELIVERY_AGAIN = "delivery_again";
    ENDPOINT_INSERT = "endpoint_insert";
    ENDPOINT_UPDATE = "endpoint_update";
    ENDPOINT_REMOVE = "endpoint_remove";
    ENDPOINTS_SELECT = "endpoints_select";
    ENDPOINTS_DISABLED = "endpoints_disabled";
    ENDPOINT_ENABLE = "endpoint_enable";
    ENDPOINT_DID_WELL = "endpoint_did_well";
    ENDPOINT_FAILED = "endpoint_failed";
    ENDPOINT_DISABLE = "endpoint_disable";
    ENDPOINT_ROTATE = "endpoint_rotate";
    EVENTS_OF_ENDPOINT_AFTER = "events_of_endpoint_after";
    EVENTS_DEAD_AFTER = "events_dead_after";
    EVENTS_LAST = "events_last";
    EVENTS_BETWEEN = "events_between";
    DELIVERIES_DEAD_BETWEEN = "deliveries_dead_between";
    DELIVERIES_ABANDON = "deliveries_abandon";
    DELIVERY_INSERT = "delivery_insert";
    DELIVERIES_CLAIM = "deliveries_claim";
    DELIVERY_CONTENT = "delivery_content";
    DELIVERY_FINISH = "delivery_finish";
    DELIVERY_RETRY = "delivery_retry";
    DELIVERY_NEXT = "delivery_next";
    DELIVERIES_DUE_ENDPOINTS = "deliveries_due_endpoints";
    DELIVERIES_OF_EVENT = "deliveries_of_event";
    ATTEMPT_INSERT = "attempt_insert";
    ATTEMPTS_OF_EVENT = "attempts_of_event";
    ATTEMPTS_FORGET = "attempts_forget";
    ERASE_ATTEMPTS = "erase_attempts";
    RETENTION_ATTEMPTS = "retention_attempts";
    DELIVERIES_RELEASE = "deliveries_release";
    DELIVERIES_RELEASE_OF = "deliveries_release_of";
    DELIVERIES_OPEN = "deliveries_open";
    IDEMPOTENCY_TAKE = "idempotency_take";
    IDEMPOTENCY_SELECT = "idempotency_select";
    IDEMPOTENCY_MADE = "idempotency_made";
    IDEMPOTENCY_KEEP = "idempotency_keep";
    IDEMPOTENCY_RELEASE = "idempotency_release";
    IDEMPOTENCY_FORGET = "idempotency_forget";
    RETENTION_RECORDINGS = "retention_recordings";
    RETENTION_RECORDING_FORGET = "retention_recording_forget";
    RETENTION_CALLS = "retention_calls";
    RETENTION_DELETED = "retention_deleted";
    RETENTION_EXPIRED = "retention_expired";
    RETENTION_ALLOCATION = "retention_allocation";
    RETENTION_PIN = "retention_pin";
    RETENTION_EVENTS = "retention_events";
    RETENTION_DELIVERIES = "retention_deliveries";
    READY = "ready";
    SCHEMA_VERSION = "schema_version";
    SCHEMA_FOUND = "schema_found";
    SCHEMA_APPLIED = "schema_applied";
    TENANT_PAGE = "tenant_page";
    TENANT_DETAIL = "tenant_detail";
    TENANT_ACTIVE_ALLOCATIONS = "tenant_active_allocations";
    TENANT_STANDING = "tenant_standing";
    TENANT_SUSPEND = "tenant_suspend";
    TENANT_RESUME = "tenant_resume";
    CREDENTIAL_ADD = "credential_add";
    CREDENTIALS_OF = "credentials_of";
    CREDENTIAL_OF = "credential_of";
    CREDENTIAL_REVOKE = "credential_revoke";
    CREDENTIAL_USED = "credential_used";
    CALLS_OPEN_OF_NODE = "calls_open_of_node";
    NUMBER_DETAIL = "number_detail";
    NUMBER_PAGE = "number_page";
    NUMBER_LOCK = "number_lock";
    NUMBER_RESET = "number_reset";
    NUMBER_LIMIT = "number_limit";
    NUMBER_MOVE = "number_move";
    NUMBER_QUARANTINE = "number_quarantine";
    NUMBER_UNQUARANTINE = "number_unquarantine";
    NUMBER_DELETE = "number_delete";
    NUMBERS_COUNT = "numbers_count";
    NUMBER_TAKEN = "number_taken";
    PINS_DISOWN = "pins_disown";
    PINS_FORGET = "pins_forget";
    PIN_FORGET = "pin_forget";
    STRANGERS_OF_NUMBER_FORGET = "strangers_of_number_forget";
    CALLERS_OF_NUMBER_FORGET = "callers_of_number_forget";
    TENANT_OPEN_CALL = "tenant_open_call";
    TENANT_MARK_ERASED = "tenant_mark_erased";
    ERASE_CREDENTIALS = "erase_credentials";
    ERASE_ENDPOINTS = "erase_endpoints";
    ERASE_DELIVERIES = "erase_deliveries";
    ERASE_PARTIES = "erase_parties";
    ERASE_IDEMPOTENCY_KEYS = "erase_idempotency_keys";
    TENANT_KEY_DESTROY = "tenant_key_destroy";
    ERASE_EVENTS = "erase_events";
    ERASE_CALLS = "erase_calls";
    ALLOCATIONS_OF_TENANT = "allocations_of_tenant";
    ALLOCATION_ERASE = "allocation_erase";
    NUMBERS_OF_TENANT = "numbers_of_tenant";
    RECORDINGS_OF_TENANT = "recordings_of_tenant";
    ERASURE_INSERT = "erasure_insert";
    ERASURE_SELECT = "erasure_select";
    ERASURE_COUNT = "erasure_count";
    ERASURE_FINISH = "erasure_finish";
    AUDIT_INSERT = "audit_insert";
    AUDIT_AFTER = "audit_after";
}

/// The version that the first step makes. Those before it held personal data in clear, and cannot be brought up to date.
const FIRST_VERSION: i64 = 101;

/// The schema, one step a version, oldest first.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("sql/migrations/0001_first.sql"),
    include_str!("sql/migrations/0002_operator.sql"),
    include_str!("sql/migrations/0003_tenant.sql"),
    include_str!("sql/migrations/0004_pins_counted.sql"),
    include_str!("sql/migrations/0005_nodes.sql"),
    include_str!("sql/migrations/0006_prompts.sql"),
    include_str!("sql/migrations/0007_events.sql"),
    include_str!("sql/migrations/0008_idempotent_creates.sql"),
    include_str!("sql/migrations/0009_uploads.sql"),
    include_str!("sql/migrations/0010_turns.sql"),
    include_str!("sql/migrations/0011_tenants_unchecked.sql"),
];

/// Statements that neither read nor change what is appended: rows of `allocations`, `parties`, `listed_callers` and
/// `events` may wait while these run.
pub(super) const APART_FROM_APPENDED: [&str; 7] = [
    NUMBER_OFFER,
    NUMBER_TAKE_PLACE,
    NUMBER_HOLD,
    PINS_RELEASE_DUE,
    PIN_TAKE,
    DELIVERY_INSERT,
    IDEMPOTENCY_MADE,
];

/// Locks the turn of the writers, on PostgreSQL alone.
pub(super) const TURN_BEGIN: &str = include_str!("sql/turn_begin.sql");

/// Those of many PINs that are or were taken, in one question where each would cost a round trip: on PostgreSQL alone.
pub(super) const PINS_KNOWN_OF: &str = include_str!("sql/pins_known_of.sql");

/// The steps that a schema of a version lacks, each with the version that it makes.
pub(super) fn missing_steps(
    found: i64,
) -> Result<impl Iterator<Item = (i64, &'static str)>, OpenError> {
    let known = i64::try_from(MIGRATIONS.len())
        .unwrap_or(i64::MAX)
        .saturating_add(FIRST_VERSION - 1);
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    if found != 0 && found < FIRST_VERSION {
        return Err(OpenError::OlderSchema { found });
    }
    Ok((FIRST_VERSION..)
        .zip(MIGRATIONS.iter().copied())
        .filter(move |(version, _)| *version > found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::core::database::{Value, postgres, sqlite};

    #[test]
    fn every_statement_is_valid_and_numbers_its_parameters_in_order() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        MIGRATIONS
            .iter()
            .for_each(|step| connection.execute_batch(&sqlite::for_sqlite(step)).unwrap());
        connection.execute_batch(SCHEMA_VERSION).unwrap();
        for (name, text) in ALL {
            let statement = connection
                .prepare(text)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            for index in 1..=statement.parameter_count() {
                assert_eq!(
                    statement.parameter_name(index),
                    Some(format!("${index}").as_str()),
                    "{name}"
                );
            }
        }
    }

    #[tokio::test]
    async fn every_statement_is_valid_on_postgresql_too_with_parameters_of_our_two_types() {
        let url = crate::store::tests::postgres::new_database();
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        for step in MIGRATIONS {
            client
                .batch_execute(&postgres::for_postgres(step))
                .await
                .unwrap();
        }
        client.batch_execute(SCHEMA_VERSION).await.unwrap();
        for (name, text) in ALL {
            let statement = client.prepare(text).await;
            let statement = statement
                .unwrap_or_else(|error| panic!("{name}: {}", error.as_db_error().unwrap()));
            for kind in statement.params() {
                assert!(
                    <Value<'_> as tokio_postgres::types::ToSql>::accepts(kind),
                    "{name}: {kind}"
                );
            }
        }
    }

    #[test]
    fn no_statement_uses_what_only_sqlite_knows() {
        for (name, text) in ALL
            .iter()
            .copied()
            .chain(MIGRATIONS.iter().map(|step| ("migration", *step)))
        {
            for foreign in [
                "?",
                "OR IGNORE",
                "OR REPLACE",
                "datetime(",
                "strftime(",
                "rowid",
                "AUTOINCREMENT",
                "json_",
            ] {
                assert!(!text.contains(foreign), "{name} uses {foreign}");
            }
        }
    }
}
