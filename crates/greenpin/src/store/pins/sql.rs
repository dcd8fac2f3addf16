//! SQL of PIN attempts.

use crate::store::Timestamp;
use crate::store::core::row::row;
use crate::store::core::statement::statements;

row! {
    /// History of a caller that no allocation of a number lists.
    pub(crate) struct HistoryRow from history_columns {
        wrong_attempts: i64 = "wrong_tries",
        refusals: i64,
        refused_until: Timestamp,
        updated_at: Timestamp,
        own_left: i64,
        own_at: Timestamp,
        own_until: Timestamp,
    }
}

row! {
    /// Budget of a trunk or of a block of caller numbers.
    pub(crate) struct SourceRow from source_columns {
        source_key: String,
        budget_left: i64,
        budget_at: Timestamp,
    }
}

statements! {
    CALL_COUNT_ATTEMPT: AtMostOne =
        "UPDATE calls SET pin_attempts = pin_attempts + 1 WHERE call_sid = $1 AND ended_at IS NULL";
    ALLOCATION_CHARGE: ExactlyOne =
        "UPDATE allocations SET failed_pin_attempts = failed_pin_attempts + 1
         WHERE tenant_id = $1 AND greenpin_id = $2 AND failed_pin_attempts < max_pin_attempts";
    ALLOCATION_REFUND: ExactlyOne =
        "UPDATE allocations SET failed_pin_attempts = failed_pin_attempts - 1
         WHERE tenant_id = $1 AND greenpin_id = $2 AND failed_pin_attempts > 0";
    CALL_ACCEPT: ExactlyOne = "UPDATE calls SET greenpin_id = $1 WHERE call_sid = $2";
    UNLISTED_CALLER_SELECT = concat!(
        "SELECT ", history_columns!(), " FROM strangers
         WHERE number_key = $1 AND caller_key = $2"
    );
    UNLISTED_CALLER_UPSERT: ExactlyOne =
        "INSERT INTO strangers (number_key, caller_key, wrong_tries, refusals, refused_until, updated_at,
                                own_left, own_at, own_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (number_key, caller_key) DO UPDATE
         SET wrong_tries = excluded.wrong_tries, refusals = excluded.refusals,
             refused_until = excluded.refused_until, updated_at = excluded.updated_at,
             own_left = excluded.own_left, own_at = excluded.own_at, own_until = excluded.own_until";
    UNLISTED_CALLER_DELETE: AtMostOne = "DELETE FROM strangers WHERE number_key = $1 AND caller_key = $2";
    UNLISTED_CALLERS_DELETE_OLD =
        "DELETE FROM strangers WHERE updated_at < $1 AND refused_until < $1 AND own_until < $1";
    SOURCES_SELECT = concat!(
        "SELECT ", source_columns!(), " FROM caller_sources
         WHERE number_key = $1 AND source_key IN ($2, $3)"
    );
    SOURCE_UPSERT: ExactlyOne =
        "INSERT INTO caller_sources (number_key, source_key, budget_left, budget_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (number_key, source_key) DO UPDATE
         SET budget_left = excluded.budget_left, budget_at = excluded.budget_at";
    SOURCES_DELETE_OLD = "DELETE FROM caller_sources WHERE budget_at < $1";
    NUMBER_SET_UNLISTED_BUDGET: ExactlyOne =
        "UPDATE numbers SET strangers_left = $1, strangers_at = $2 WHERE number_key = $3";
}
