//! `/settings`: the settings of a tenant.

pub(crate) mod fields;

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::fields::UpdateSettings;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{DeliveryForm, EventTypes, Moment, WebhookId};
use crate::http::{Api, Success, success};
use crate::store::{CallLimit, EndpointId, RateLimit, TenantSettings, TenantStore, Timestamp};

problems! {
    UpdateProblems: [InvalidRequest, RuleViolated]
        fields [
            MissingField, UnknownField, WrongType, InvalidValue, NotSupported, OutOfRange, TooMany, Repeated, UnknownEndpoint,
        ];
}

/// Read the settings
#[utoipa::path(
    get,
    path = "/settings",
    operation_id = "read_settings",
    tag = "Settings",
    responses((status = 200, description = "The settings.", body = Success<Settings>))
)]
pub(crate) async fn read(Tenant(store): Tenant) -> Result<Response, Problem> {
    settings_response(&store, Vec::new()).await
}

/// Change the settings
///
/// Changes what is given. Every node heeds it within a second.
#[utoipa::path(
    put,
    path = "/settings",
    operation_id = "update_settings",
    tag = "Settings",
    request_body(content = ref("#/components/schemas/UpdateSettings"), content_type = "application/json"),
    responses(
        (status = 200, description = "All settings. An endpoint's `secret` is shown only in the answer that made it.",
            body = Success<Settings>),
        UpdateProblems,
    )
)]
pub(crate) async fn update(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let object = body::json_object(&headers, body).await?;
    let operator_limits = OperatorLimits {
        rate: api.rate_limiter.default(),
        calls: api.node.call_limit,
    };
    let current = store.settings().await?;
    let mut request = read_request(object, &current, operator_limits, &api.node.languages)?;
    let webhooks = request.webhooks.take();
    let known = store.endpoints().await?;
    for (index, spec) in webhooks.iter().flatten().enumerate() {
        if spec
            .id
            .as_ref()
            .is_some_and(|id| known.iter().all(|endpoint| endpoint.id != *id))
        {
            return Err(Problem::from_fields(vec![FieldError {
                field: format!("webhooks[{index}].id"),
                code: Code::UnknownEndpoint,
                message: "is no endpoint of this tenant".into(),
            }]));
        }
    }
    let change = move |settings: &mut TenantSettings| request.apply(settings);
    let new_secrets = store.update_settings(change, webhooks, api.now()).await?;
    settings_response(&store, new_secrets).await
}

async fn settings_response(
    store: &TenantStore,
    new_secrets: Vec<(EndpointId, String)>,
) -> Result<Response, Problem> {
    let secrets: HashMap<EndpointId, String> = new_secrets.into_iter().collect();
    let settings = TenantSettings::clone(&*store.settings().await?);
    let (zone, now) = (settings.zone(), Timestamp::now());
    let time = |moment: Timestamp| moment.rfc3339(&zone);
    let webhooks = store
        .endpoints()
        .await?
        .into_iter()
        .map(|endpoint| Webhook {
            secret: secrets.get(&endpoint.id).cloned(),
            id: endpoint.id.to_string(),
            url: endpoint.url,
            types: endpoint.types,
            format: endpoint.format.as_str(),
            paused: endpoint.paused,
            failing_since: endpoint.failing_since.map(time),
            disabled_at: endpoint.disabled_at.map(time),
            previous_secret_expires_at: Some(endpoint.previous_secret_until)
                .filter(|until| *until > now)
                .map(time),
        });
    let webhooks = webhooks.collect();
    Ok(success(StatusCode::OK, Settings { settings, webhooks }))
}

/// The settings as they are shown.
#[derive(Serialize, ToSchema)]
#[schema(description = "A tenant's settings.")]
struct Settings {
    #[serde(flatten)]
    settings: TenantSettings,
    /// The endpoints that events go to.
    #[schema(max_items = 20)]
    webhooks: Vec<Webhook>,
}

/// An endpoint as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(description = "A webhook endpoint.")]
struct Webhook {
    #[schema(value_type = WebhookId)]
    id: String,
    /// Where events are POSTed to.
    #[schema(format = "uri")]
    url: String,
    /// The types of event that it takes; `null`: all.
    #[schema(value_type = EventTypes)]
    types: Option<Vec<String>>,
    /// The form of the delivery.
    #[schema(value_type = DeliveryForm)]
    format: &'static str,
    /// Events wait while it is set.
    paused: bool,
    /// Since when it has taken nothing; `null`: it took what it got last, or has got nothing yet.
    #[schema(required, value_type = Option<Moment>)]
    failing_since: Option<String>,
    /// When it was disabled, since it had taken nothing for days: events wait until it is enabled; `null`: it is not.
    #[schema(required, value_type = Option<Moment>)]
    disabled_at: Option<String>,
    /// Until when its deliveries are signed with its previous secret, too; `null`: it has one secret.
    #[schema(required, value_type = Option<Moment>)]
    previous_secret_expires_at: Option<String>,
    /// What its deliveries are signed with. Shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^whsec_[A-Za-z0-9+/]+={0,2}$")]
    secret: Option<String>,
}

/// What the operator grants to every tenant.
#[derive(Clone, Copy)]
struct OperatorLimits {
    rate: RateLimit,
    calls: CallLimit,
}

/// Reads a request. Limits that depend on each other are checked together with those that stay as they are.
fn read_request(
    object: Map<String, Value>,
    current: &TenantSettings,
    operator_limits: OperatorLimits,
    languages: &[String],
) -> Result<UpdateSettings, Problem> {
    let mut fields = Fields::new(object);
    fields.set_choices("prompts.language", languages);
    narrow_to_operator_limits(&mut fields, current, operator_limits);
    let request = UpdateSettings::read(&mut fields);
    let min = request.min_duration.unwrap_or(current.min_duration);
    let max = request.max_duration.unwrap_or(current.max_duration);
    if min > max {
        fields.add_fault(
            "min_duration",
            Code::OutOfRange,
            "must not be over max_duration",
        );
    }
    fields.finish()?;
    Ok(request)
}

/// Limits what a tenant can ask for to what the operator grants, or to a higher limit that the tenant has already.
fn narrow_to_operator_limits(
    fields: &mut Fields,
    current: &TenantSettings,
    operator_limits: OperatorLimits,
) {
    let rate = |of: fn(&RateLimit) -> u32| {
        of(&operator_limits.rate).max(current.rate_limit.as_ref().map_or(0, of))
    };
    let calls = |of: fn(&CallLimit) -> u32| {
        of(&operator_limits.calls).max(current.call_limit.as_ref().map_or(0, of))
    };
    let limits = [
        (
            "rate_limit.requests_per_second",
            rate(|limit| limit.requests_per_second),
        ),
        ("rate_limit.burst", rate(|limit| limit.burst)),
        ("call_limit.max_calls", calls(|limit| limit.max_calls)),
        (
            "call_limit.calls_per_second",
            calls(|limit| limit.calls_per_second),
        ),
    ];
    for (path, max) in limits {
        fields.narrow(path, 1, max);
    }
}
