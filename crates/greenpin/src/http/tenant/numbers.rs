//! `GET /numbers`: the tenant's virtual numbers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::Problem;
use crate::http::openapi::schemas::{E164, SharingMode};
use crate::http::{Api, Success, success};
use crate::store::{CallerPolicy, NumberCapacity};

/// A virtual number in the tenant's pool.
#[derive(Serialize, ToSchema)]
#[schema(as = Number)]
struct NumberUsage {
    #[schema(value_type = E164)]
    virtual_number: String,
    #[schema(value_type = SharingMode)]
    mode: &'static str,
    /// Number of digits of each PIN.
    #[schema(minimum = 4, maximum = 8)]
    pin_length: u8,
    /// Current number of active allocations.
    active_allocations: u32,
    /// Maximum number of active allocations.
    #[schema(minimum = 1)]
    max_active: u32,
    /// Probability of guessing a PIN before the lockout, for a caller allowed by every active allocation: active
    /// PINs / 10^`pin_length` × the highest `max_pin_attempts` among them.
    #[schema(minimum = 0, maximum = 1)]
    guess_probability: f64,
    /// Probability that unlisted callers guess a PIN of the number within a year of constant attack; 0 if they cannot
    /// open any.
    #[schema(minimum = 0, maximum = 1)]
    guess_odds_per_year: f64,
}

/// List the numbers of the pool
///
/// Lists the virtual numbers available to the tenant, with their usage and capacity.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/numbers",
    operation_id = "list_numbers",
    tag = "Numbers",
    responses((status = 200, description = "The pool.", body = Success<Vec<NumberUsage>>))
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let policy = store.settings().await?.caller_policy;
    let numbers: Vec<NumberUsage> = store
        .capacities(api.now())
        .await?
        .iter()
        .map(|capacity| NumberUsage::from_capacity(capacity, policy))
        .collect();
    Ok(success(StatusCode::OK, numbers))
}

/// Rounds odds to six decimals.
fn rounded(odds: f64) -> f64 {
    (odds * 1e6).round() / 1e6
}

impl NumberUsage {
    fn from_capacity(capacity: &NumberCapacity, policy: CallerPolicy) -> Self {
        Self {
            virtual_number: capacity.number.virtual_number.expose(),
            mode: capacity.number.mode.as_str(),
            pin_length: capacity.number.pin_length,
            active_allocations: capacity.number.active,
            max_active: capacity.max_allocations(),
            guess_probability: capacity.guess_probability(),
            guess_odds_per_year: rounded(capacity.guess_odds_per_year(policy)),
        }
    }
}
