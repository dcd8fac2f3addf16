//! `PUT /greenpin`: many changes in one request, each with an answer of its own.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::auth::Tenant;
use super::change::change;
use super::fields::Fields;
use super::greenpin::not_found;
use super::problem::{Code, FieldError, Problem};
use super::{Api, body, success};
use crate::store::{AllocationChange, GreenpinId, TenantSettings};

const MOST_ITEMS: usize = 100;

/// `PUT /greenpin`
pub(super) async fn update(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let items = body::json_array(&headers, body).await?;
    if items.is_empty() {
        return Err(Problem::new(Code::TooFew, "The array must hold 1 to 100 items."));
    }
    if items.len() > MOST_ITEMS {
        return Err(Problem::new(Code::TooManyItems, "The array must hold 1 to 100 items."));
    }
    let settings = store.settings().await?;
    let (mut ids, mut read) = (Vec::new(), Vec::new());
    for item in items {
        ids.push(item.get("greenpin_id").filter(|id| id.is_string()).cloned().unwrap_or_default());
        read.push(self::item(item, &settings));
    }
    let changes = read.iter().filter_map(|item| item.as_ref().ok().cloned()).collect();
    let mut done = store.change_allocations(changes, api.now()).await?.into_iter();
    let results = read.into_iter().map(|item| {
        item?;
        done.next().ok_or_else(|| Problem::plain(Code::Internal))?.map_err(Problem::from)
    });
    let answers: Vec<Value> = ids
        .into_iter()
        .zip(results)
        .map(|(id, result)| match result {
            Ok(_) => json!({ "greenpin_id": id, "status": "updated" }),
            Err(problem) => json!({ "greenpin_id": id, "status": "error", "error": problem.item() }),
        })
        .collect();
    Ok(success(StatusCode::OK, answers))
}

fn item(item: Value, settings: &TenantSettings) -> Result<(GreenpinId, AllocationChange), Problem> {
    let Value::Object(object) = item else {
        let error =
            FieldError { field: String::new(), code: Code::WrongType, message: "must be an object".into() };
        return Err(Problem::of_fields(vec![error]));
    };
    let mut fields = Fields::new(object);
    let id = fields.required("greenpin_id", Fields::text);
    let change = change(&mut fields, settings);
    fields.finish()?;
    let id = id.as_deref().and_then(GreenpinId::parse).ok_or_else(not_found)?;
    Ok((id, change))
}
