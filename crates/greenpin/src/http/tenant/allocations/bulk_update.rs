//! `PUT /greenpin`: changes many allocations in one request, with one result per item.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::fields::{UpdateItem, narrow_duration};
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, FieldError, MAX_FAULTS, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::ItemStatus;
use crate::http::{Api, Success, success};
use crate::store::{AllocationChange, GreenpinId, TenantSettings};

/// Maximum number of items in one request.
pub const MAX_ITEMS: usize = 100;

problems! {
    BulkProblems: [InvalidRequest, TooManyItems, TooFew];
}

/// Returns the name and the schema of the body.
pub(crate) fn schema() -> (&'static str, Value) {
    let schema = json!({
        "type": "array",
        "description": "Changes, applied in order. The body has at most 64 KiB.",
        "minItems": 1,
        "maxItems": MAX_ITEMS,
        "items": { "$ref": "#/components/schemas/UpdateItem" },
    });
    ("UpdateAllocations", schema)
}

/// Result of one item.
#[derive(Serialize, ToSchema)]
#[schema(description = "Result of one item.")]
struct ChangedItem {
    /// `greenpin_id` of the item, or `null` if it has none.
    #[schema(value_type = Option<String>, required)]
    greenpin_id: Value,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
    /// Reason for the failure: a problem without `request_id`. Omitted on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    error: Option<Value>,
}

/// Change many allocations
///
/// Applies each item independently: a rejected item does not affect the others. Results are in the order of the
/// items. An id that appears twice is changed twice.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant_id}/greenpin",
    operation_id = "update_allocations",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/UpdateAllocations"), content_type = "application/json"),
    responses(
        (status = 200, description = "Results, one per item.", body = Success<Vec<ChangedItem>>),
        BulkProblems,
    )
)]
pub(crate) async fn update(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let items = body::json_array(&headers, body).await?;
    check_count(&items)?;
    let settings = store.settings().await?;
    let (mut ids, mut parsed) = (Vec::new(), Vec::new());
    for item in items {
        ids.push(
            item.get("greenpin_id")
                .filter(|id| id.is_string())
                .cloned()
                .unwrap_or_default(),
        );
        parsed.push(parse_item(item, &settings));
    }
    let changes = parsed
        .iter()
        .filter_map(|item| item.as_ref().ok().cloned())
        .collect();
    let mut changed = store
        .change_allocations(changes, api.now())
        .await?
        .into_iter();
    let outcomes = parsed.into_iter().map(|item| {
        item?;
        changed
            .next()
            .ok_or_else(|| Problem::plain(Code::Internal))?
            .map_err(Problem::from)
    });
    let mut named_faults = 0;
    let results: Vec<ChangedItem> = ids
        .into_iter()
        .zip(outcomes)
        .map(|(id, result)| match result {
            Ok(_) => ChangedItem {
                greenpin_id: id,
                status: "updated",
                error: None,
            },
            Err(mut problem) => {
                problem.limit_faults(MAX_FAULTS.saturating_sub(named_faults));
                named_faults += problem.faults().len();
                ChangedItem {
                    greenpin_id: id,
                    status: "error",
                    error: Some(problem.to_item_json()),
                }
            }
        })
        .collect();
    Ok(success(StatusCode::OK, results))
}

/// Rejects an empty array, and one with more than [`MAX_ITEMS`].
fn check_count(items: &[Value]) -> Result<(), Problem> {
    let code = match items.len() {
        0 => Code::TooFew,
        count if count > MAX_ITEMS => Code::TooManyItems,
        _ => return Ok(()),
    };
    Err(Problem::new(code, "The array must have 1 to 100 items."))
}

fn parse_item(
    item: Value,
    settings: &TenantSettings,
) -> Result<(GreenpinId, AllocationChange), Problem> {
    let Value::Object(object) = item else {
        let error = FieldError {
            field: String::new(),
            code: Code::WrongType,
            message: "must be an object".into(),
        };
        return Err(Problem::from_fields(vec![error]));
    };
    let mut fields = Fields::new(object);
    narrow_duration(&mut fields, settings);
    let item = UpdateItem::read(&mut fields);
    let change = item.change.into_change(&mut fields, settings);
    fields.finish()?;
    let id = item
        .greenpin_id
        .as_deref()
        .and_then(GreenpinId::parse)
        .ok_or_else(not_found)?;
    Ok((id, change))
}
