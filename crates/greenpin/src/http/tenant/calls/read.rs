//! `/calls/{call_sid}` and `/greenpin/{greenpin_id}/calls`: call records.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use call::{CallCause, CallType, DialStatus, HangupBy, PhoneNumber};
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::paging::{Page, PageQuery, split_page};
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::ResourceQueryProblems;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{
    AllocationId, CallCauseWord, CallId, CallKind, CallerDirection, CallerVerificationWord,
    DialOutcome, E164, HangupParty, Moment,
};
use crate::http::tenant::allocations::resource::greenpin_id;
use crate::http::{Success, success};
use crate::store::{
    CallRecord, CallSid, CallerVerification, DialledLeg, LegReport, TenantStore, Timestamp,
};

problems! {
    ReadProblems: [NotFound];
}

/// List the calls of an allocation
///
/// Lists call records, newest first, including calls in progress.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}/calls",
    operation_id = "list_allocation_calls",
    tag = "Calls",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of call records.", body = Page<CallDetails>),
        ResourceQueryProblems,
    )
)]
pub(crate) async fn list_for_allocation(
    Tenant(store): Tenant,
    Path((_, id)): Path<(String, String)>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let Query(query) = query.map_err(|_| {
        Problem::new(
            Code::InvalidRequest,
            "The query accepts these parameters, each at most once: limit, cursor.",
        )
    })?;
    let page = query.page(CallSid::parse)?;
    store.allocation(&id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    let records = store
        .calls_of_allocation(&id, page.cursor, page.limit + 1)
        .await?;
    let (records, next_cursor) = split_page(&records, page.limit, |last| last.call_sid.to_string());
    Ok(Page::json_response(
        records
            .iter()
            .map(|record| CallDetails::from_record(record, &store, &zone))
            .collect(),
        next_cursor,
    ))
}

/// Read a call record
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}",
    operation_id = "read_call",
    tag = "Calls",
    responses(
        (status = 200, description = "The call record.", body = Success<CallDetails>),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    Path((_, call_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    stored(&store, &call_sid).await
}

/// Returns the response with a stored call.
pub(crate) async fn stored(store: &TenantStore, call_sid: &CallSid) -> Result<Response, Problem> {
    let record = store.call(call_sid).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    Ok(success(
        StatusCode::OK,
        CallDetails::from_record(&record, store, &zone),
    ))
}

/// A call record. Its field names are those of the call events.
#[derive(Serialize, ToSchema)]
#[schema(as = CallRecord, description = "A call record. Fields are filled in as the call progresses.")]
pub(crate) struct CallDetails<'a> {
    #[schema(value_type = CallId)]
    call_sid: &'a str,
    /// Allocation of the call, once known.
    #[schema(value_type = Option<AllocationId>, required)]
    greenpin_id: Option<&'a str>,
    /// Called virtual number.
    #[schema(value_type = E164)]
    virtual_number: String,
    /// Number of the caller; `null`: withheld or unknown.
    #[schema(value_type = Option<E164>, required)]
    from: Option<String>,
    /// Result of the carrier's check of the caller's number (`verstat`); `null`: the carrier names none, or the call is in
    /// progress.
    #[schema(value_type = Option<CallerVerificationWord>, required)]
    caller_verification: Option<&'a str>,
    /// Connected number, or otherwise the last dialled number.
    #[schema(value_type = Option<E164>, required)]
    to: Option<String>,
    /// Always `incoming`.
    #[schema(value_type = CallerDirection)]
    direction: &'static str,
    /// Time of the incoming call.
    #[schema(value_type = Moment)]
    start_time: String,
    /// Time at which greenpin answered the caller.
    #[schema(value_type = Option<Moment>, required)]
    answer_time: Option<String>,
    /// Time at which the number in `to` was dialled.
    #[schema(value_type = Option<Moment>, required)]
    dial_time: Option<String>,
    /// Time at which both parties were connected.
    #[schema(value_type = Option<Moment>, required)]
    bridge_time: Option<String>,
    /// End of the call; `null` while in progress.
    #[schema(value_type = Option<Moment>, required)]
    end_time: Option<String>,
    /// Type of the call; `null` while in progress.
    #[schema(value_type = Option<CallKind>, required)]
    call_type: Option<&'a str>,
    /// Outcome of the dialled leg; `null`: no number was dialled, or the leg is in progress.
    #[schema(value_type = Option<DialOutcome>, required)]
    dial_call_status: Option<&'a str>,
    /// Reason for the result; `null` while in progress.
    #[schema(value_type = Option<CallCauseWord>, required)]
    cause: Option<&'a str>,
    /// Sentence that explains the result, for people; `null` while in progress.
    #[schema(required)]
    why: Option<String>,
    /// Attempts to reach a number, oldest first. Empty while in progress.
    #[schema(max_items = 50)]
    attempts: Vec<AttemptDetails<'a>>,
    /// Seconds from dialling to the end of the dialled leg.
    #[schema(required)]
    dial_call_duration: Option<u64>,
    /// Seconds during which both parties were connected.
    #[schema(required)]
    on_call_duration: Option<u64>,
    /// SIP status of the rejection by the last dialled number.
    #[schema(required, minimum = 300, maximum = 699)]
    sip_cause: Option<u16>,
    /// Party that ended the call; `null` while in progress.
    #[schema(value_type = Option<HangupParty>, required)]
    hangup_by: Option<&'a str>,
    /// Number of PINs entered.
    pin_attempts: u32,
    /// URL of the recording, which needs the tenant's credentials; `null`: no recording.
    #[schema(required, format = "uri")]
    recording_url: Option<String>,
    /// Length of the recording, in seconds.
    #[schema(required)]
    recording_duration: Option<u64>,
    /// Media statistics of the caller's leg.
    #[schema(required)]
    caller_media: Option<&'a LegReport>,
    /// Media statistics of the callee's leg.
    #[schema(required)]
    callee_media: Option<&'a LegReport>,
    /// Trunk of the incoming call.
    trunk: &'a str,
    /// Node of the call.
    node: &'a str,
}

/// An attempt to reach a number over one trunk.
#[derive(Serialize, ToSchema)]
#[schema(as = CallAttempt, description = "An attempt to reach a number over one trunk.")]
pub(crate) struct AttemptDetails<'a> {
    /// Dialled number.
    #[schema(value_type = E164)]
    number: String,
    /// Outgoing trunk; `null`: the number was not dialled.
    #[schema(required)]
    trunk: Option<&'a str>,
    /// Start of the attempt.
    #[schema(value_type = Moment)]
    start_time: String,
    /// End of the leg.
    #[schema(value_type = Moment)]
    end_time: String,
    /// Final SIP status of a rejected leg.
    #[schema(required, minimum = 300, maximum = 699)]
    sip_status: Option<u16>,
    /// Reason for the end of the leg.
    #[schema(value_type = CallCauseWord)]
    cause: &'a str,
}

impl<'a> AttemptDetails<'a> {
    fn from_leg(leg: &'a DialledLeg, zone: &TimeZone) -> Self {
        Self {
            number: leg.number.expose(),
            trunk: leg.trunk.as_deref(),
            start_time: leg.started_at.rfc3339(zone),
            end_time: leg.ended_at.rfc3339(zone),
            sip_status: leg.sip_status,
            cause: leg.cause.as_str(),
        }
    }
}

impl<'a> CallDetails<'a> {
    pub(crate) fn from_record(
        record: &'a CallRecord,
        store: &TenantStore,
        zone: &TimeZone,
    ) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.rfc3339(zone));
        Self {
            call_sid: record.call_sid.as_str(),
            greenpin_id: record.greenpin_id.as_ref().map(|id| id.as_str()),
            virtual_number: record.virtual_number.expose(),
            from: record.shown_caller().map(PhoneNumber::expose),
            caller_verification: record
                .legs
                .caller_verification
                .map(CallerVerification::as_str),
            to: record.dialled.map(PhoneNumber::expose),
            direction: "incoming",
            start_time: record.started_at.rfc3339(zone),
            answer_time: time(record.answered_at),
            dial_time: time(record.dialled_at),
            bridge_time: time(record.bridged_at),
            end_time: time(record.ended_at),
            call_type: record.call_type.map(CallType::as_str),
            cause: record.cause.map(CallCause::as_str),
            why: record.why(),
            attempts: record
                .legs
                .attempts
                .iter()
                .map(|leg| AttemptDetails::from_leg(leg, zone))
                .collect(),
            dial_call_status: record.dial_call_status.map(DialStatus::as_str),
            dial_call_duration: record.dial_call_duration(),
            on_call_duration: record.on_call_duration(),
            sip_cause: record.sip_cause,
            hangup_by: record.hangup_by.map(HangupBy::as_str),
            pin_attempts: record.pin_attempts,
            recording_url: store.recording_url(record),
            recording_duration: record
                .recording
                .as_ref()
                .map(|recording| recording.duration.as_secs()),
            caller_media: record.caller_media.as_ref(),
            callee_media: record.callee_media.as_ref(),
            trunk: &record.trunk,
            node: &record.node,
        }
    }
}
