//! Lists, newest first, a page at a time; and `GET /greenpin`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Json, Response};
use call::PhoneNumber;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::allocation::Resource;
use crate::http::Api;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{AllocationStatus, E164};
use crate::store::{AllocationFilter, GreenpinId, Status, Timestamp};

const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 200;

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false, pattern = "^call_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
}

/// The page that was asked for.
pub(crate) struct Asked<T> {
    pub(crate) limit: u32,
    pub(crate) cursor: Option<T>,
}

/// A page. `next_cursor` is `null` on the last one.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items of this page.
    response: Vec<T>,
    /// What to ask the next page with; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    pub(crate) fn answer(response: Vec<T>, next_cursor: Option<String>) -> Response {
        Json(Self {
            response,
            next_cursor,
        })
        .into_response()
    }
}

impl PageQuery {
    pub(crate) fn page<T>(
        self,
        cursor: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Asked<T>, Problem> {
        asked(self.limit.as_deref(), self.cursor.as_deref(), cursor)
    }
}

/// Reads `limit` and `cursor`.
pub(crate) fn asked<T>(
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
        Some(text) => {
            Some(read(text).ok_or_else(|| invalid("cursor", "must be a cursor of this list"))?)
        }
    };
    Ok(Asked { limit, cursor })
}

/// The items of a page out of one more than fit, and whether there was one more.
pub(crate) fn cut<T>(items: &[T], limit: u32) -> (&[T], bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match items.get(..limit) {
        Some(page) => (page, items.len() > limit),
        None => (items, false),
    }
}

pub(crate) fn invalid(field: &str, rule: &str) -> Problem {
    let error = FieldError {
        field: field.into(),
        code: Code::InvalidValue,
        message: rule.into(),
    };
    Problem::of_fields(vec![error])
}

/// What a list of allocations can be narrowed by.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only those that stand there.
    #[param(value_type = AllocationStatus, required = false)]
    status: Option<String>,
    /// Only those on this virtual number.
    #[param(value_type = E164, required = false)]
    virtual_number: Option<String>,
    /// Only those with this number in `from` or `to`.
    #[param(value_type = E164, required = false)]
    party: Option<String>,
    /// Only those with exactly this text.
    #[param(value_type = String, required = false)]
    custom_field: Option<String>,
    /// Only those made at this moment or later.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-15T10:30:00+05:30")]
    created_after: Option<String>,
    /// Only those made before this moment.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-16T10:30:00+05:30")]
    created_before: Option<String>,
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false, pattern = "^gp_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
}

problems! {
    QueryProblems: [InvalidRequest] fields [InvalidValue];
    QueryOfOneProblems: [InvalidRequest, NotFound] fields [InvalidValue];
}

/// List allocations
///
/// Newest first, a page at a time. A page stays right while allocations are made: what is new comes before it.
#[utoipa::path(
    get,
    path = "/greenpin",
    operation_id = "list_allocations",
    tag = "Allocations",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of allocations.", body = Page<Resource>),
        QueryProblems,
    )
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let known =
            "status, virtual_number, party, custom_field, created_after, created_before, limit, cursor";
        Problem::new(Code::InvalidRequest, format!("The query can hold, once each: {known}."))
    })?;
    let page = asked(
        query.limit.as_deref(),
        query.cursor.as_deref(),
        GreenpinId::parse,
    )?;
    let filter = query.filter()?;
    let now = api.now();
    let found = store
        .allocations(filter, page.cursor, page.limit + 1, now)
        .await?;
    let zone = store.settings().await?.zone();
    let (found, more) = cut(&found, page.limit);
    let next_cursor = found
        .last()
        .filter(|_| more)
        .map(|last| last.greenpin_id.to_string());
    Ok(Page::answer(
        found
            .iter()
            .map(|one| Resource::of(one, &zone, now))
            .collect(),
        next_cursor,
    ))
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

pub(crate) fn number(field: &str, text: Option<String>) -> Result<Option<PhoneNumber>, Problem> {
    let read = |text: String| PhoneNumber::parse(&text);
    text.map(read).transpose().map_err(|_| {
        invalid(
            field,
            "must be a number in E.164 form, its '+' written as %2B",
        )
    })
}

pub(crate) fn time(field: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: String| text.parse::<jiff::Timestamp>();
    let rule = "must be a time as in RFC 3339, its '+' written as %2B";
    let time = text
        .map(read)
        .transpose()
        .map_err(|_| invalid(field, rule))?;
    Ok(time.map(|time| Timestamp::from_micros(time.as_microsecond())))
}
