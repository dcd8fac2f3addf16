//! Pagination of lists: `limit`, `cursor`, and readers of query parameters shared by several lists.

use axum::http::StatusCode;
use axum::response::Response;
use call::PhoneNumber;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, FieldError, Problem};
use crate::http::{ITEM_OCTETS, json_response};
use crate::store::Timestamp;

/// Default number of items on a page.
pub const DEFAULT_PAGE_ITEMS: u32 = 50;
/// Maximum number of items on a page.
pub const MAX_PAGE_ITEMS: u32 = 200;

/// Query parameters of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^call_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
}

/// Validated page request.
pub(crate) struct PageRequest<T> {
    pub(crate) limit: u32,
    pub(crate) cursor: Option<T>,
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items of the page.
    response: Vec<T>,
    /// Cursor of the next page, or `null` on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    pub(crate) fn json_response(response: Vec<T>, next_cursor: Option<String>) -> Response {
        let expected = ITEM_OCTETS * (response.len() + 1);
        let page = Self {
            response,
            next_cursor,
        };
        json_response(StatusCode::OK, &page, expected)
    }
}

impl PageQuery {
    pub(crate) fn page<T>(
        self,
        cursor: impl FnOnce(&str) -> Option<T>,
    ) -> Result<PageRequest<T>, Problem> {
        page_request(self.limit.as_deref(), self.cursor.as_deref(), cursor)
    }
}

/// Parses `limit` and `cursor`.
pub(crate) fn page_request<T>(
    limit: Option<&str>,
    cursor: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<PageRequest<T>, Problem> {
    let limit = match limit {
        None => DEFAULT_PAGE_ITEMS,
        Some(text) => {
            let limit = text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_PAGE_ITEMS).contains(limit));
            limit.ok_or_else(|| invalid_parameter("limit", "must be 1 to 200"))?
        }
    };
    let cursor = match cursor {
        None => None,
        Some(text) => Some(
            read(text)
                .ok_or_else(|| invalid_parameter("cursor", "must be a next_cursor of this list"))?,
        ),
    };
    Ok(PageRequest { limit, cursor })
}

/// Splits one item beyond the limit off the items. Returns the page, and the cursor of its last item if there are more
/// items.
pub(crate) fn split_page<T>(
    items: &[T],
    limit: u32,
    cursor: impl FnOnce(&T) -> String,
) -> (&[T], Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = items.get(..limit).unwrap_or(items);
    let last = page.last().filter(|_| items.len() > page.len());
    (page, last.map(cursor))
}

pub(crate) fn invalid_parameter(field: &str, rule: &str) -> Problem {
    let error = FieldError {
        field: field.into(),
        code: Code::InvalidValue,
        message: rule.into(),
    };
    Problem::from_fields(vec![error])
}

pub(crate) fn phone_number(
    field: &str,
    text: Option<String>,
) -> Result<Option<PhoneNumber>, Problem> {
    let read = |text: String| PhoneNumber::parse(&text);
    text.map(read)
        .transpose()
        .map_err(|_| invalid_parameter(field, "must be an E.164 number, with '+' encoded as %2B"))
}

pub(crate) fn timestamp(field: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let rule = "must be an RFC 3339 time, with '+' encoded as %2B";
    let read = |text: String| {
        Timestamp::parse_rfc3339(&text).ok_or_else(|| invalid_parameter(field, rule))
    };
    text.map(read).transpose()
}
