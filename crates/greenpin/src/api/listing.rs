//! Lists, newest first, a page at a time; and `GET /greenpin`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Json, Response};
use call::PhoneNumber;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::Tenant;
use super::greenpin::Resource;
use super::problem::{Code, FieldError, Problem};
use crate::store::{AllocationFilter, GreenpinId, Status, Timestamp};

const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 200;

/// Which page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// The page that was asked for.
pub(super) struct Asked<T> {
    pub(super) limit: u32,
    pub(super) cursor: Option<T>,
}

/// A page. `next_cursor` is `null` on the last one.
#[derive(Serialize)]
pub(super) struct Page<T> {
    response: Vec<T>,
    next_cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    pub(super) fn answer(response: Vec<T>, next_cursor: Option<String>) -> Response {
        Json(Self { response, next_cursor }).into_response()
    }
}

impl PageQuery {
    pub(super) fn page<T>(self, cursor: impl FnOnce(&str) -> Option<T>) -> Result<Asked<T>, Problem> {
        asked(self.limit.as_deref(), self.cursor.as_deref(), cursor)
    }
}

/// Reads `limit` and `cursor`.
pub(super) fn asked<T>(
    limit: Option<&str>,
    cursor: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Asked<T>, Problem> {
    let limit = match limit {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
            limit.ok_or_else(|| invalid("limit", "must be 1 to 200"))?
        }
    };
    let cursor = match cursor {
        None => None,
        Some(text) => Some(read(text).ok_or_else(|| invalid("cursor", "must be a cursor of this list"))?),
    };
    Ok(Asked { limit, cursor })
}

/// The items of a page out of one more than fit, and whether there was one more.
pub(super) fn cut<T>(items: &[T], limit: u32) -> (&[T], bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match items.get(..limit) {
        Some(page) => (page, items.len() > limit),
        None => (items, false),
    }
}

pub(super) fn invalid(field: &str, rule: &str) -> Problem {
    let error = FieldError { field: field.into(), code: Code::InvalidValue, message: rule.into() };
    Problem::of_fields(vec![error])
}

/// What a list of allocations can be narrowed by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    status: Option<String>,
    virtual_number: Option<String>,
    party: Option<String>,
    custom_field: Option<String>,
    created_after: Option<String>,
    created_before: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /greenpin`
pub(super) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let known =
            "status, virtual_number, party, custom_field, created_after, created_before, limit, cursor";
        Problem::new(Code::InvalidRequest, format!("The query can hold, once each: {known}."))
    })?;
    let page = asked(query.limit.as_deref(), query.cursor.as_deref(), GreenpinId::parse)?;
    let filter = query.filter()?;
    let now = api.now();
    let found = store.allocations(filter, page.cursor, page.limit + 1, now).await?;
    let zone = store.settings().await?.zone();
    let (found, more) = cut(&found, page.limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.greenpin_id.to_string());
    Ok(Page::answer(found.iter().map(|one| Resource::of(one, &zone, now)).collect(), next_cursor))
}

impl ListQuery {
    fn filter(self) -> Result<AllocationFilter, Problem> {
        let status = match self.status.as_deref() {
            None => None,
            Some("active") => Some(Status::Active),
            Some("expired") => Some(Status::Expired),
            Some("deleted") => Some(Status::Deleted),
            Some(_) => return Err(invalid("status", "must be active, expired or deleted")),
        };
        Ok(AllocationFilter {
            status,
            virtual_number: number("virtual_number", self.virtual_number)?,
            party: number("party", self.party)?,
            custom_field: self.custom_field,
            created_after: time("created_after", self.created_after)?,
            created_before: time("created_before", self.created_before)?,
        })
    }
}

pub(super) fn number(field: &str, text: Option<String>) -> Result<Option<PhoneNumber>, Problem> {
    let read = |text: String| PhoneNumber::parse(&text);
    text.map(read)
        .transpose()
        .map_err(|_| invalid(field, "must be a number in E.164 form, its '+' written as %2B"))
}

pub(super) fn time(field: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: String| text.parse::<jiff::Timestamp>();
    let rule = "must be a time as in RFC 3339, its '+' written as %2B";
    let time = text.map(read).transpose().map_err(|_| invalid(field, rule))?;
    Ok(time.map(|time| Timestamp::from_micros(time.as_microsecond())))
}
