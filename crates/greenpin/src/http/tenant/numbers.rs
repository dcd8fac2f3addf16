//! `GET /numbers`: the pool.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::Problem;
use crate::http::openapi::schemas::{E164, SharingMode};
use crate::http::{Api, Success, success};
use crate::store::NumberCapacity;

/// A number of the pool.
#[derive(Serialize, ToSchema)]
#[schema(as = Number)]
struct NumberUsage {
    #[schema(value_type = E164)]
    virtual_number: String,
    #[schema(value_type = SharingMode)]
    mode: &'static str,
    /// Digits of each of its PINs.
    #[schema(minimum = 4, maximum = 8)]
    pin_length: u8,
    /// Allocations that are active on it.
    active_allocations: u32,
    /// Active allocations that it takes at once.
    #[schema(minimum = 1)]
    max_active: u32,
    /// How likely somebody who may open each of the active allocations guesses a PIN before being locked out: active
    /// PINs / 10^`pin_length` × the highest `max_pin_attempts` among them.
    #[schema(minimum = 0, maximum = 1)]
    guess_probability: f64,
}

/// List the numbers of the pool
///
/// Every virtual number that the tenant can allocate, with its use and capacity.
#[utoipa::path(
    get,
    path = "/numbers",
    operation_id = "list_numbers",
    tag = "Numbers",
    responses((status = 200, description = "The pool.", body = Success<Vec<NumberUsage>>))
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let numbers: Vec<NumberUsage> = store
        .capacities(api.now())
        .await?
        .iter()
        .map(NumberUsage::from_capacity)
        .collect();
    Ok(success(StatusCode::OK, numbers))
}

impl NumberUsage {
    fn from_capacity(capacity: &NumberCapacity) -> Self {
        Self {
            virtual_number: capacity.number.virtual_number.expose(),
            mode: capacity.number.mode.as_str(),
            pin_length: capacity.number.pin_length,
            active_allocations: capacity.number.active,
            max_active: capacity.most(),
            guess_probability: capacity.guess_probability(),
        }
    }
}
