//! The API of a tenant: `/v1/tenants/{tenant_id}`.

pub(crate) mod allocations;
pub(crate) mod calls;
pub(crate) mod events;
mod numbers;
pub(crate) mod prompts;
pub(crate) mod settings;
pub(crate) mod webhooks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::allocations::{allocation, bulk_update, list, pin, resolve, update};
use self::calls::{recording, recording_link};
use self::events::{deliveries, log};
use super::Api;

/// Returns every route below `/v1/tenants/{tenant_id}`.
pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(allocation::create, list::list, bulk_update::update))
        .routes(routes!(resolve::resolve))
        .routes(routes!(
            allocation::read,
            update::update,
            allocation::delete
        ))
        .routes(routes!(pin::unlock))
        .routes(routes!(pin::rotate))
        .routes(routes!(calls::read::of_allocation))
        .routes(routes!(calls::list::list))
        .routes(routes!(calls::read::read))
        .routes(routes!(recording::read))
        .routes(routes!(recording_link::make))
        .routes(routes!(log::list))
        .routes(routes!(log::redeliver))
        .routes(routes!(log::replay))
        .routes(routes!(deliveries::list))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::enable))
        .routes(routes!(numbers::list))
        .routes(routes!(settings::read, settings::update))
        .routes(routes!(prompts::list))
        .routes(routes!(prompts::put, prompts::read, prompts::delete))
}
