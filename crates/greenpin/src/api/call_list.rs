//! `GET /calls`: call records, newest first.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;

use super::auth::Tenant;
use super::calls::Record;
use super::listing::{Page, asked, cut, invalid, number, time};
use super::problem::{Code, Problem};
use crate::store::{CallFilter, CallSid, CallType, GreenpinId};

/// What a list of calls can be narrowed by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallsQuery {
    status: Option<String>,
    call_type: Option<String>,
    virtual_number: Option<String>,
    greenpin_id: Option<String>,
    party: Option<String>,
    started_after: Option<String>,
    started_before: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /calls`
pub(super) async fn list(
    Tenant(store): Tenant,
    query: Result<Query<CallsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let known = "status, call_type, virtual_number, greenpin_id, party, started_after, started_before, \
                     limit, cursor";
        Problem::new(Code::InvalidRequest, format!("The query can hold, once each: {known}."))
    })?;
    let page = asked(query.limit.as_deref(), query.cursor.as_deref(), CallSid::parse)?;
    let records = store.calls(query.filter()?, page.cursor, page.limit + 1).await?;
    let zone = store.settings().await?.zone();
    let (records, more) = cut(&records, page.limit);
    let next_cursor = records.last().filter(|_| more).map(|last| last.call_sid.to_string());
    Ok(Page::answer(records.iter().map(|record| Record::of(record, &zone)).collect(), next_cursor))
}

impl CallsQuery {
    fn filter(self) -> Result<CallFilter, Problem> {
        let ended = match self.status.as_deref() {
            None => None,
            Some("active") => Some(false),
            Some("ended") => Some(true),
            Some(_) => return Err(invalid("status", "must be active or ended")),
        };
        let call_type = match self.call_type.as_deref() {
            None => None,
            Some("completed") => Some(CallType::Completed),
            Some("incomplete") => Some(CallType::Incomplete),
            Some("call-attempt") => Some(CallType::CallAttempt),
            Some("client-hangup") => Some(CallType::ClientHangup),
            Some(_) => {
                let rule = "must be completed, incomplete, call-attempt or client-hangup";
                return Err(invalid("call_type", rule));
            }
        };
        let greenpin_id = self.greenpin_id.map(|id| GreenpinId::parse(&id).ok_or(()));
        Ok(CallFilter {
            ended,
            call_type,
            virtual_number: number("virtual_number", self.virtual_number)?,
            greenpin_id: greenpin_id
                .transpose()
                .map_err(|()| invalid("greenpin_id", "must be the id of an allocation"))?,
            party: number("party", self.party)?,
            started_after: time("started_after", self.started_after)?,
            started_before: time("started_before", self.started_before)?,
        })
    }
}
