//! SQL of calls, their recordings and uploads.

use call::{CallCause, CallType, DialStatus, HangupBy};

use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{CallSid, EventId, GreenpinId, TenantId, Timestamp};

row! {
    /// Stored call.
    pub(crate) struct CallRow from call_columns {
        call_sid: CallSid,
        tenant_id: TenantId,
        /// Virtual number and caller, encrypted.
        sealed: String,
        /// The caller is not shown to the tenant.
        caller_withheld: bool,
        greenpin_id: Option<GreenpinId>,
        trunk: String,
        node: String,
        started_at: Timestamp,
        answered_at: Option<Timestamp>,
        /// Dialled number, encrypted.
        sealed_dialled: Option<String>,
        dialled_at: Option<Timestamp>,
        bridged_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        call_type: Option<CallType>,
        dial_call_status: Option<DialStatus>,
        sip_cause: Option<u16>,
        hangup_by: Option<HangupBy>,
        pin_attempts: u32,
        recording_file: Option<String>,
        recording_ms: Option<u64>,
        caller_media: Option<String>,
        callee_media: Option<String>,
        cause: Option<CallCause>,
        /// Attempts and Call-IDs, encrypted.
        sealed_legs: Option<String>,
    }
}

row! {
    /// Recording on the disk of this node that waits for its upload.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Upload from upload_columns {
        /// Call of the recording.
        call_sid: CallSid = "u.call_sid",
        /// Path of the file.
        file: String = "u.file",
        /// Number of failed uploads.
        attempts: u32 = "u.tries",
        /// Tenant of the call; `None` if no call record names the file any more and it only has to be removed.
        tenant_id: Option<TenantId> = "c.tenant_id",
    }
}

row! {
    /// Event of a call.
    pub(crate) struct CallEventRow from call_event_columns {
        event_id: EventId,
        event_type: String = "type",
        occurred_at: Timestamp,
        sealed: String,
    }
}

statements! {
    CALL_INSERT: ExactlyOne =
        "INSERT INTO calls (tenant_id, call_sid, number_key, greenpin_id, caller_key, sealed, caller_withheld, trunk, node,
                            started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    PINS_ANY_ACTIVE = "SELECT 1 FROM pins WHERE number_key = $1 AND counted = 1 AND active_until > $2 LIMIT 1";
    ALLOCATION_COUNT_ATTEMPT: AtMostOne =
        "UPDATE allocations SET attempt_count = attempt_count + 1 WHERE tenant_id = $1 AND greenpin_id = $2";
    CALL_RING: AtMostOne =
        "UPDATE calls SET dialled_key = $1, sealed_dialled = $2, dialled_at = COALESCE(dialled_at, $3)
         WHERE call_sid = $4 AND ended_at IS NULL";
    CALL_ANSWER: AtMostOne =
        "UPDATE calls SET dialled_key = $1, sealed_dialled = $2, bridged_at = $3
         WHERE call_sid = $4 AND bridged_at IS NULL AND ended_at IS NULL";
    ALLOCATION_COUNT_CALL: AtMostOne =
        "UPDATE allocations SET call_count = call_count + 1 WHERE tenant_id = $1 AND greenpin_id = $2";
    CALL_END: AtMostOne =
        "UPDATE calls SET ended_at = $1, answered_at = $2, dialled_key = $3, sealed_dialled = $4, dialled_at = $5,
                bridged_at = $6, call_type = $7, dial_call_status = $8, sip_cause = $9, hangup_by = $10, pin_attempts = $11,
                recording_file = $12, recording_ms = $13, caller_media = $14, callee_media = $15,
                cause = $16, sealed_legs = $17
         WHERE call_sid = $18 AND ended_at IS NULL";
    CALL_CLOSE_UNREADABLE: AtMostOne =
        "UPDATE calls SET ended_at = $1, call_type = 'call-attempt', hangup_by = 'system'
         WHERE call_sid = $2 AND ended_at IS NULL";
    CALLS_OPEN = "SELECT call_sid FROM calls WHERE node = $1 AND ended_at IS NULL LIMIT $2";
    CALL_SELECT = concat!(
        "SELECT ", call_columns!(), "
         FROM calls WHERE tenant_id = $1 AND call_sid = $2"
    );
    CALL_BY_SID = concat!(
        "SELECT ", call_columns!(), "
         FROM calls WHERE call_sid = $1"
    );
    CALL_TENANT = "SELECT tenant_id FROM calls WHERE call_sid = $1";
    CALL_OPEN = concat!(
        "SELECT ", call_columns!(), ",
                (SELECT a.sequence FROM allocations a
                 WHERE a.tenant_id = calls.tenant_id AND a.greenpin_id = calls.greenpin_id) AS event_sequence,
                (SELECT a.custom_field FROM allocations a
                 WHERE a.tenant_id = calls.tenant_id AND a.greenpin_id = calls.greenpin_id) AS custom_field
         FROM calls WHERE call_sid = $1 AND ended_at IS NULL"
    );
    CALLS_OF_ALLOCATION = concat!(
        "SELECT ", call_columns!(), "
         FROM calls WHERE tenant_id = $1 AND greenpin_id = $2 AND call_sid < $3
         ORDER BY call_sid DESC LIMIT $4"
    );
    CALLS_LIST = concat!(
        "SELECT ", call_columns!(), "
         FROM calls
         WHERE tenant_id = $1 AND call_sid < $2 AND ($3 = '' OR greenpin_id = $3)
           AND ($4 = '' OR call_type = $4)
           AND ($5 = '' OR $5 = CASE WHEN ended_at IS NULL THEN 'active' ELSE 'ended' END)
           AND ($6 = '' OR number_key = $6)
           AND ($7 = '' OR caller_key = $7 OR dialled_key = $7)
           AND started_at >= $8 AND started_at < $9
         ORDER BY call_sid DESC LIMIT $10"
    );
    CALLS_NEWEST = concat!(
        "SELECT ", call_columns!(), "
         FROM calls WHERE tenant_id = $1 ORDER BY call_sid DESC LIMIT $2"
    );
    CALLS_LIST_OF_ALLOCATION = concat!(
        "SELECT ", call_columns!(), "
         FROM calls
         WHERE tenant_id = $1 AND call_sid < $2 AND greenpin_id = $3
           AND ($4 = '' OR call_type = $4)
           AND ($5 = '' OR $5 = CASE WHEN ended_at IS NULL THEN 'active' ELSE 'ended' END)
           AND ($6 = '' OR number_key = $6)
           AND ($7 = '' OR caller_key = $7 OR dialled_key = $7)
           AND started_at >= $8 AND started_at < $9
         ORDER BY call_sid DESC LIMIT $10"
    );
    CALLS_ENDED = concat!(
        "SELECT ", call_columns!(), "
         FROM calls
         WHERE call_sid < $1 AND ($2 = '' OR tenant_id = $2) AND ($3 = '' OR cause = $3) AND ($4 = '' OR trunk = $4)
           AND ended_at IS NOT NULL
         ORDER BY call_sid DESC LIMIT $5"
    );
    CALLS_ENDED_OF_TENANT = concat!(
        "SELECT ", call_columns!(), "
         FROM calls
         WHERE call_sid < $1 AND tenant_id = $2 AND ($3 = '' OR cause = $3) AND ($4 = '' OR trunk = $4)
           AND ended_at IS NOT NULL
         ORDER BY call_sid DESC LIMIT $5"
    );
    /// Events of a call are those of its allocation, or without one before the PIN is known.
    EVENTS_OF_CALL = concat!(
        "SELECT ", call_event_columns!(), " FROM events
         WHERE tenant_id = $1 AND event_id >= $2 AND event_id < $3
           AND ($4 = '' OR greenpin_id = $4 OR greenpin_id IS NULL)
           AND (type LIKE 'call.%' OR type = 'recording.ready')
         ORDER BY event_id LIMIT $5"
    );
    /// Selects from the calls, so that nothing is written for a call that was removed meanwhile.
    TRACE_INSERT: AtMostOne =
        "INSERT INTO call_traces (tenant_id, call_sid, sealed)
         SELECT c.tenant_id, c.call_sid, $1 FROM calls AS c WHERE c.tenant_id = $2 AND c.call_sid = $3
         ON CONFLICT (tenant_id, call_sid) DO NOTHING";
    TRACE_SELECT = "SELECT sealed FROM call_traces WHERE tenant_id = $1 AND call_sid = $2";
    CALL_SET_RECORDING: AtMostOne =
        "UPDATE calls SET recording_file = $1, recording_ms = $2 WHERE call_sid = $3 AND recording_file IS NULL";
    UPLOAD_INSERT: AtMostOne =
        "INSERT INTO uploads (call_sid, node, file, due_at)
         SELECT c.call_sid, c.node, c.recording_file, $1 FROM calls AS c WHERE c.call_sid = $2 AND c.recording_file IS NOT NULL
         ON CONFLICT (call_sid) DO NOTHING";
    UPLOADS_DUE = concat!(
        "SELECT ", upload_columns!(), " FROM uploads AS u
         LEFT JOIN calls AS c ON c.call_sid = u.call_sid AND c.recording_file = u.file
         WHERE u.node = $1 AND u.due_at <= $2 ORDER BY u.due_at LIMIT $3"
    );
    UPLOAD_COUNT = "SELECT COUNT(*) AS count FROM uploads WHERE node = $1";
    UPLOAD_DELETE: AtMostOne = "DELETE FROM uploads WHERE call_sid = $1";
    UPLOAD_POSTPONE: AtMostOne = "UPDATE uploads SET tries = tries + 1, due_at = $1 WHERE call_sid = $2";
    CALL_MOVE_RECORDING: AtMostOne = "UPDATE calls SET recording_file = $1 WHERE call_sid = $2 AND recording_file = $3";
}
