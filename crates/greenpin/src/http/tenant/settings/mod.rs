//! `/settings`: a tenant's settings.

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
use crate::store::{
    CallLimit, EndpointId, RateLimit, SettingsError, TenantSettings, TenantStore, Timestamp,
};

problems! {
    UpdateProblems: [InvalidRequest, RuleViolated]
        fields [
            Required, UnknownField, WrongType, InvalidValue, NotSupported, OutOfRange, TooMany, Repeated, UnknownEndpoint,
        ];
}

/// Read the settings
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/settings",
    operation_id = "read_settings",
    tag = "Settings",
    responses((status = 200, description = "The settings.", body = Success<Settings>))
)]
pub(crate) async fn read(Tenant(store): Tenant) -> Result<Response, Problem> {
    settings_response(&store, Vec::new()).await
}

/// Change the settings
///
/// Changes the given fields. Every node applies them within one second.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant_id}/settings",
    operation_id = "update_settings",
    tag = "Settings",
    request_body(content = ref("#/components/schemas/UpdateSettings"), content_type = "application/json"),
    responses(
        (status = 200, description = "All settings. The `secret` of an endpoint is included only in the response to its creation.",
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
    let live = api.node.live.borrow().clone();
    let operator_limits = OperatorLimits {
        rate: live.rate_limit,
        calls: live.call_limit,
    };
    let current = store.settings().await?;
    let mut request = read_request(object, &current, operator_limits, &live.languages)?;
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
                message: "is not an endpoint of this tenant".into(),
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

/// A tenant's settings.
#[derive(Serialize, ToSchema)]
#[schema(description = "A tenant's settings.")]
struct Settings {
    #[serde(flatten)]
    settings: TenantSettings,
    /// Webhook endpoints of the tenant.
    #[schema(max_items = 20)]
    webhooks: Vec<Webhook>,
}

/// A webhook endpoint.
#[derive(Serialize, ToSchema)]
#[schema(description = "A webhook endpoint.")]
struct Webhook {
    #[schema(value_type = WebhookId)]
    id: String,
    /// Destination URL of events.
    #[schema(format = "uri")]
    url: String,
    /// Event types sent to the endpoint; `null`: all.
    #[schema(value_type = EventTypes)]
    types: Option<Vec<String>>,
    /// Format of deliveries.
    #[schema(value_type = DeliveryForm)]
    format: &'static str,
    /// `true`: events stay pending until the pause ends.
    paused: bool,
    /// Time of the first failure since the last success; `null`: no failure since then.
    #[schema(required, value_type = Option<Moment>)]
    failing_since: Option<String>,
    /// Time at which the endpoint was disabled after days of failures; `null`: enabled. Events stay pending until
    /// it is enabled.
    #[schema(required, value_type = Option<Moment>)]
    disabled_at: Option<String>,
    /// Expiry of the previous signing secret; `null`: only one secret is valid.
    #[schema(required, value_type = Option<Moment>)]
    previous_secret_expires_at: Option<String>,
    /// Signing secret. Only the response to its creation contains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^whsec_[A-Za-z0-9+/]+={0,2}$")]
    secret: Option<String>,
}

/// Rule of `min_duration`.
const DURATION_RULE: &str = "must not exceed max_duration";

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Durations => Self::from_fields(vec![FieldError {
                field: "min_duration".into(),
                code: Code::OutOfRange,
                message: DURATION_RULE.into(),
            }]),
            SettingsError::Store(error) => error.into(),
        }
    }
}

/// Limits set by the operator for every tenant.
#[derive(Clone, Copy)]
struct OperatorLimits {
    rate: RateLimit,
    calls: CallLimit,
}

/// Reads the request. Limits that depend on each other are checked with the stored values of omitted ones.
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
        fields.add_fault("min_duration", Code::OutOfRange, DURATION_RULE);
    }
    fields.finish()?;
    Ok(request)
}

/// Limits the request to the operator's limits, or to a higher limit already stored for the tenant.
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
