//! API of a tenant, below `/v1/tenants/{tenant_id}`.
//!
//! - `allocations/`: allocations, their PINs, and resolution of a call.
//! - `calls/`: call records and recordings.
//! - `events/`: the event log, its stream, and webhook deliveries.
//! - `search`: calls, allocations and events by id or number.
//! - `numbers`, `prompts`, `settings/`, `webhooks`: the pool, audio, settings and webhook endpoints.

pub(crate) mod allocations;
pub(crate) mod calls;
pub(crate) mod events;
mod numbers;
pub(crate) mod prompts;
pub(crate) mod search;
pub(crate) mod settings;
pub(crate) mod webhooks;

use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::allocations::fields::{CreateAllocation, ResolveRequest, UpdateAllocation, UpdateItem};
use self::allocations::{bulk_update, create, delete, list, pin, read, resolve, update};
use self::calls::{recording, recording_link};
use self::events::{deliveries, log, of_subject, stream};
use self::settings::fields::{UpdateSettings, WebhookRequest};
use super::Api;
use super::middleware::field::schema_of;

/// Returns the schemas of all request bodies, by name.
pub(super) fn requests() -> Vec<(&'static str, Value)> {
    vec![
        schema_of::<CreateAllocation>(),
        schema_of::<UpdateAllocation>(),
        schema_of::<UpdateItem>(),
        bulk_update::schema(),
        schema_of::<ResolveRequest>(),
        schema_of::<UpdateSettings>(),
        schema_of::<WebhookRequest>(),
        schema_of::<webhooks::RotateSecret>(),
        schema_of::<log::ReplayEvents>(),
        schema_of::<recording_link::LinkRecording>(),
    ]
}

/// Returns every route below `/v1/tenants/{tenant_id}`.
pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create::create, list::list, bulk_update::update))
        .routes(routes!(resolve::resolve))
        .routes(routes!(read::read, update::update, delete::delete))
        .routes(routes!(pin::unlock))
        .routes(routes!(pin::rotate))
        .routes(routes!(calls::read::list_for_allocation))
        .routes(routes!(calls::list::list))
        .routes(routes!(calls::read::read))
        .routes(routes!(calls::trace::read))
        .routes(routes!(calls::trace::capture))
        .routes(routes!(recording::read))
        .routes(routes!(recording_link::create))
        .routes(routes!(log::list))
        .routes(routes!(stream::follow))
        .routes(routes!(of_subject::list_for_call))
        .routes(routes!(of_subject::list_for_allocation))
        .routes(routes!(search::search))
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
