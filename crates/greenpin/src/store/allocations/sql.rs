//! SQL of allocations and their PINs.

use crate::store::core::row::row;
use crate::store::core::statement::{Rows, Statement, statements};
use crate::store::numbers::NumberMode;
use crate::store::{GreenpinId, TenantId, Timestamp};

row! {
    /// Stored allocation.
    pub(crate) struct AllocationRow from allocation_columns {
        greenpin_id: GreenpinId,
        /// Numbers and PIN, encrypted.
        sealed: String,
        record: bool,
        custom_field: Option<String>,
        max_pin_attempts: u8,
        failed_pin_attempts: u8,
        call_count: u64,
        attempt_count: u64,
        created_at: Timestamp,
        updated_at: Timestamp,
        expires_at: Timestamp,
        deleted_at: Option<Timestamp>,
        /// Sequence number of its last event.
        sequence: i64,
    }
}

row! {
    /// Number, as the creation of an allocation reads it.
    pub(crate) struct AvailabilityRow from availability_columns {
        tenant_id: TenantId = "n.tenant_id",
        mode: NumberMode = "n.mode",
        pin_length: u8 = "n.pin_length",
        quarantined_at: Option<Timestamp> = "n.quarantined_at",
        active: i64 = "n.active",
        max_active: i64 = "n.max_active",
        /// End of the counted allocation that ends first, in microseconds.
        first_end: Option<i64> =
            "(SELECT MIN(p.active_until) FROM pins p WHERE p.number_key = n.number_key AND p.counted = 1)",
        /// End of the allocation that holds an exclusive number, in microseconds.
        held_until: i64 = "n.held_until",
    }
}

row! {
    /// Active allocation that lists a caller on a shared number.
    pub(crate) struct ListedAllocation from listed_allocation_columns {
        greenpin_id: GreenpinId = "c.greenpin_id",
        max_pin_attempts: u8 = "a.max_pin_attempts",
        failed_pin_attempts: u8 = "a.failed_pin_attempts",
        sequence: i64 = "a.sequence",
        custom_field: Option<String> = "a.custom_field",
    }
}

row! {
    /// Allocation whose expiry is due.
    pub(crate) struct DueAllocation from due_allocation_columns {
        tenant_id: TenantId,
        greenpin_id: GreenpinId,
        expires_at: Timestamp,
    }
}

/// Start of a list: the columns, and the conditions of every filter. Parameters 1 to 9.
macro_rules! allocation_list {
    () => {
        concat!(
            "SELECT ",
            allocation_columns!(),
            "
         FROM allocations
         WHERE tenant_id = $1 AND greenpin_id < $2 AND greenpin_id >= $3
           AND ($4 = '' OR $4 = CASE WHEN deleted_at IS NOT NULL THEN 'deleted'
                                     WHEN expires_at <= $5 THEN 'expired' ELSE 'active' END)
           AND ($6 = 0 OR custom_field = $7)
           AND created_at >= $8 AND created_at < $9"
        )
    };
}

statements! {
    NUMBER_AVAILABILITY = concat!(
        "SELECT ", availability_columns!(), "
         FROM numbers n JOIN tenants t ON t.tenant_id = n.tenant_id
         WHERE n.number_key = $1 AND t.erased_at IS NULL"
    );
    NUMBER_HOLD: ExactlyOne = "UPDATE numbers SET held_by = $1, held_until = $2 WHERE number_key = $3";
    NUMBER_SET_ACTIVE: ExactlyOne = "UPDATE numbers SET active = $1 WHERE number_key = $2";
    PIN_CLAIM: AtMostOne =
        "INSERT INTO pins (number_key, pin_key, greenpin_id, active_until, free_at, counted)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (number_key, pin_key) DO UPDATE
         SET greenpin_id = excluded.greenpin_id, active_until = excluded.active_until,
             free_at = excluded.free_at, counted = excluded.counted
         WHERE pins.free_at <= $7";
    PIN_INSERT: ExactlyOne =
        "INSERT INTO pins (number_key, pin_key, greenpin_id, active_until, free_at, counted)
         VALUES ($1, $2, $3, $4, $5, $6)";
    PIN_CLAIM_FREE: ExactlyOne =
        "INSERT INTO pins (number_key, pin_key, greenpin_id, active_until, free_at, counted)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (number_key, pin_key) DO UPDATE
         SET greenpin_id = excluded.greenpin_id, active_until = excluded.active_until,
             free_at = excluded.free_at, counted = excluded.counted";
    PINS_IN_USE = "SELECT pin_key FROM pins WHERE number_key = $1 AND free_at > $2 ORDER BY pin_key";
    ALLOCATION_INSERT: ExactlyOne =
        "INSERT INTO allocations (tenant_id, greenpin_id, number_key, sealed, record, custom_field, max_pin_attempts,
                                  created_at, updated_at, expires_at, sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    PARTY_INSERT: ExactlyOne = "INSERT INTO parties (tenant_id, party_key, greenpin_id) VALUES ($1, $2, $3)";
    PARTY_DELETE: AtMostOne = "DELETE FROM parties WHERE tenant_id = $1 AND party_key = $2 AND greenpin_id = $3";
    LISTED_CALLER_INSERT: ExactlyOne =
        "INSERT INTO listed_callers (number_key, caller_key, greenpin_id, tenant_id) VALUES ($1, $2, $3, $4)";
    LISTED_CALLER_DELETE: AtMostOne =
        "DELETE FROM listed_callers WHERE number_key = $1 AND caller_key = $2 AND greenpin_id = $3";
    LISTED_CALLER_ALLOCATIONS =
        concat!("SELECT ", listed_allocation_columns!(), "
         FROM listed_callers c
         JOIN allocations a ON a.tenant_id = c.tenant_id AND a.greenpin_id = c.greenpin_id
         WHERE c.number_key = $1 AND c.caller_key = $2 AND a.deleted_at IS NULL AND a.expires_at > $3
         ORDER BY c.greenpin_id");
    ALLOCATION_SELECT = concat!(
        "SELECT ", allocation_columns!(), "
         FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2"
    );
    ALLOCATION_OF_NUMBER = concat!(
        "SELECT ", allocation_columns!(), "
         FROM allocations WHERE tenant_id = (SELECT n.tenant_id FROM numbers n WHERE n.number_key = $1)
           AND greenpin_id = (SELECT n.held_by FROM numbers n WHERE n.number_key = $1)"
    );
    ALLOCATION_OF_PIN = concat!(
        "SELECT ", allocation_columns!(), "
         FROM allocations WHERE tenant_id = (SELECT n.tenant_id FROM numbers n WHERE n.number_key = $1)
           AND greenpin_id = (SELECT p.greenpin_id FROM pins p
                              WHERE p.number_key = $1 AND p.pin_key = $2 AND p.active_until > $3)"
    );
    ALLOCATION_PAGE = concat!(
        "SELECT * FROM (
             SELECT ", allocation_columns!(), "
             FROM allocations
             WHERE tenant_id = $1 AND greenpin_id < $2
             ORDER BY greenpin_id DESC LIMIT 201) AS page
         ORDER BY greenpin_id DESC LIMIT $3"
    );
    ALLOCATIONS_NEWEST = concat!(
        "SELECT ", allocation_columns!(), "
         FROM allocations WHERE tenant_id = $1 ORDER BY greenpin_id DESC LIMIT $2"
    );
    ALLOCATION_LIST = concat!(allocation_list!(), "
         ORDER BY greenpin_id DESC LIMIT $10"
    );
    ALLOCATION_LIST_OF_NUMBER = concat!(allocation_list!(), "
           AND number_key = $10
         ORDER BY greenpin_id DESC LIMIT $11"
    );
    ALLOCATION_LIST_OF_PARTY = concat!(allocation_list!(), "
           AND ($10 = '' OR number_key = $10)
           AND greenpin_id IN (SELECT p.greenpin_id FROM parties p
                               WHERE p.tenant_id = $1 AND p.party_key = $11 AND p.greenpin_id < $2)
         ORDER BY greenpin_id DESC LIMIT $12"
    );
    ALLOCATION_BEGIN_CHANGE: AtMostOne =
        "UPDATE allocations SET sequence = sequence
         WHERE tenant_id = $1 AND greenpin_id = $2 AND deleted_at IS NULL AND expires_at > $3";
    ALLOCATION_UPDATE: ExactlyOne =
        "UPDATE allocations SET sealed = $1, record = $2, custom_field = $3, max_pin_attempts = $4, expires_at = $5,
                updated_at = $6
         WHERE tenant_id = $7 AND greenpin_id = $8";
    NUMBER_EXTEND_HOLD: AtMostOne = "UPDATE numbers SET held_until = $1 WHERE number_key = $2 AND held_by = $3";
    PIN_EXTEND: AtMostOne =
        "UPDATE pins SET active_until = $1, free_at = $2 WHERE number_key = $3 AND pin_key = $4 AND greenpin_id = $5";
    ALLOCATION_UNLOCK: ExactlyOne =
        "UPDATE allocations SET failed_pin_attempts = 0, updated_at = $1 WHERE tenant_id = $2 AND greenpin_id = $3";
    ALLOCATION_SET_PIN: ExactlyOne =
        "UPDATE allocations SET sealed = $1, updated_at = $2 WHERE tenant_id = $3 AND greenpin_id = $4";
    PIN_RETIRE: AtMostOne =
        "UPDATE pins SET active_until = $1, free_at = $2, counted = 0
         WHERE number_key = $3 AND pin_key = $4 AND greenpin_id = $5";
    ALLOCATION_DELETE: AtMostOne =
        "UPDATE allocations SET deleted_at = $1, updated_at = $1
         WHERE tenant_id = $2 AND greenpin_id = $3 AND deleted_at IS NULL
         RETURNING greenpin_id";
    NUMBER_RELEASE: AtMostOne = "UPDATE numbers SET held_by = NULL, held_until = 0 WHERE number_key = $1 AND held_by = $2";
    PIN_END: AtMostOne =
        "UPDATE pins SET active_until = $1, free_at = $2
         WHERE number_key = $3 AND pin_key = $4 AND greenpin_id = $5 AND active_until > $1";
    ALLOCATIONS_DUE =
        concat!("SELECT ", due_allocation_columns!(), " FROM allocations
         WHERE deleted_at IS NULL AND expiry_reported_at IS NULL AND expires_at <= $1
         ORDER BY expires_at LIMIT $2");
    ALLOCATION_MARK_EXPIRED: AtMostOne =
        "UPDATE allocations SET expiry_reported_at = $1
         WHERE tenant_id = $2 AND greenpin_id = $3 AND expiry_reported_at IS NULL AND deleted_at IS NULL
           AND expires_at <= $1";
}

/// PostgreSQL only: looks up many PINs in one round trip.
pub(crate) const PINS_STORED: &Statement = &Statement::new(
    "PINS_STORED",
    r#"SELECT known.pin_key, known.free_at
         FROM unnest(string_to_array($2, ' ')) AS drawn (pin_key)
         CROSS JOIN LATERAL (SELECT p.pin_key, p.free_at FROM pins p
                             WHERE p.number_key = $1 AND p.pin_key = drawn.pin_key COLLATE "C"
                             LIMIT 1) known"#,
    Rows::Any,
);
