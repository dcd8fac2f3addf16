//! SQL of the number pool.

use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{GreenpinId, NumberMode, TenantId, Timestamp};

row! {
    /// Number of a pool, with the count of its active allocations.
    pub(crate) struct PoolRow from pool_columns {
        /// The number, encrypted.
        sealed: String = "n.sealed",
        number_key: String = "n.number_key",
        tenant_id: TenantId = "n.tenant_id",
        mode: NumberMode = "n.mode",
        pin_length: u8 = "n.pin_length",
        max_active: u32 = "n.max_active",
        active: u32 =
            "CASE WHEN n.mode = 'exclusive' THEN CASE WHEN n.held_until > $1 THEN 1 ELSE 0 END
                  ELSE (SELECT COUNT(*) FROM pins p
                        WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
             END",
    }
}

row! {
    /// Further columns of a number for the operator.
    pub(crate) struct PoolDates from pool_date_columns {
        quarantined_at: Option<Timestamp> = "n.quarantined_at",
        created_at: Timestamp = "n.created_at",
    }
}

row! {
    /// Number, as routing reads it.
    pub(crate) struct RoutingRow from routing_columns {
        tenant_id: TenantId = "n.tenant_id",
        mode: NumberMode = "n.mode",
        pin_length: u8 = "n.pin_length",
        held_by: Option<GreenpinId> = "n.held_by",
        held_until: Timestamp = "n.held_until",
        unlisted_budget: i64 = "n.strangers_left",
        unlisted_budget_at: Timestamp = "n.strangers_at",
        suspended_at: Option<Timestamp> = "t.suspended_at",
    }
}

statements! {
    NUMBER_INSERT: AtMostOne =
        "INSERT INTO numbers (number_key, tenant_id, sealed, mode, pin_length, max_active,
                              strangers_left, strangers_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (number_key) DO NOTHING";
    NUMBERS_COUNT = "SELECT COUNT(*) AS count FROM numbers WHERE tenant_id = $1";
    NUMBER_SELECT = concat!(
        "SELECT ", routing_columns!(), "
         FROM numbers n JOIN tenants t ON t.tenant_id = n.tenant_id
         WHERE n.number_key = $1 AND t.erased_at IS NULL"
    );
    NUMBER_LIST = concat!(
        "SELECT ", pool_columns!(), "
         FROM numbers n WHERE ($2 = '' OR n.tenant_id = $2) ORDER BY n.number_key"
    );
    NUMBER_CAPACITIES = concat!(
        "SELECT ", pool_columns!(), ",
                COALESCE(CASE WHEN n.mode = 'exclusive'
                              THEN (SELECT a.max_pin_attempts FROM allocations a
                                    WHERE a.tenant_id = n.tenant_id AND a.greenpin_id = n.held_by AND n.held_until > $1)
                              ELSE (SELECT MAX(a.max_pin_attempts) FROM pins p
                                    JOIN allocations a ON a.tenant_id = n.tenant_id AND a.greenpin_id = p.greenpin_id
                                    WHERE p.number_key = n.number_key AND p.counted = 1 AND p.active_until > $1)
                         END, 0) AS max_pin_attempts
         FROM numbers n WHERE n.tenant_id = $2 ORDER BY n.number_key"
    );
    NUMBER_DETAIL = concat!(
        "SELECT ", pool_columns!(), ", ", pool_date_columns!(), "
         FROM numbers n WHERE n.number_key = $2"
    );
    NUMBER_PAGE = concat!(
        "SELECT ", pool_columns!(), ", ", pool_date_columns!(), "
         FROM numbers n
         WHERE ($2 = '' OR n.tenant_id = $2) AND ($3 = '' OR n.mode = $3)
           AND ($4 = '' OR $4 = CASE WHEN n.quarantined_at IS NULL THEN 'false' ELSE 'true' END)
           AND n.number_key > $5
         ORDER BY n.number_key LIMIT $6"
    );
    NUMBER_EXISTS = "SELECT 1 FROM numbers WHERE number_key = $1";
    NUMBER_LOCK: AtMostOne = "UPDATE numbers SET strangers_at = strangers_at WHERE number_key = $1";
    NUMBER_LIMIT: ExactlyOne = "UPDATE numbers SET max_active = $1 WHERE number_key = $2";
    NUMBER_RESET: ExactlyOne =
        "UPDATE numbers SET mode = $1, pin_length = $2, max_active = $3, active = 0, held_by = NULL, held_until = 0
         WHERE number_key = $4";
    NUMBER_MOVE: ExactlyOne =
        "UPDATE numbers SET tenant_id = $1, sealed = $2, active = 0, held_by = NULL, held_until = 0
         WHERE number_key = $3";
    NUMBER_QUARANTINE: AtMostOne = "UPDATE numbers SET quarantined_at = $1 WHERE number_key = $2 AND quarantined_at IS NULL";
    NUMBER_UNQUARANTINE: AtMostOne =
        "UPDATE numbers SET quarantined_at = NULL WHERE number_key = $1 AND quarantined_at IS NOT NULL";
    NUMBER_DELETE: ExactlyOne = "DELETE FROM numbers WHERE number_key = $1";
    PINS_RELEASE_DUE = "UPDATE pins SET counted = 0 WHERE number_key = $1 AND counted = 1 AND active_until <= $2";
    PINS_DETACH = "UPDATE pins SET greenpin_id = '', counted = 0 WHERE number_key = $1";
    PINS_DELETE =
        "DELETE FROM pins WHERE number_key = $1
         AND pin_key IN (SELECT p.pin_key FROM pins p WHERE p.number_key = $1 LIMIT $2)";
    NUMBER_DELETE_UNLISTED_CALLERS = "DELETE FROM strangers WHERE number_key = $1";
    NUMBER_DELETE_CALLER_SOURCES = "DELETE FROM caller_sources WHERE number_key = $1";
    NUMBER_DELETE_LISTED_CALLERS = "DELETE FROM listed_callers WHERE number_key = $1";
}
