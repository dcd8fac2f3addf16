//! `GET /numbers`: the pool.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::auth::Tenant;
use super::problem::Problem;
use super::{Api, success};
use crate::store::NumberCapacity;

/// A number of the pool.
#[derive(Serialize)]
struct Number {
    virtual_number: String,
    mode: &'static str,
    pin_length: u8,
    active_allocations: u32,
    /// Active allocations that it takes at once.
    max_active: u32,
    guess_probability: f64,
}

/// `GET /numbers`
pub(super) async fn list(Tenant(store): Tenant, State(api): State<Api>) -> Result<Response, Problem> {
    let numbers: Vec<Number> = store.capacities(api.now()).await?.iter().map(Number::of).collect();
    Ok(success(StatusCode::OK, numbers))
}

impl Number {
    fn of(capacity: &NumberCapacity) -> Self {
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
