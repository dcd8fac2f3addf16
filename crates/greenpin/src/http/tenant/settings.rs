//! `/settings`: what a tenant can set.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{DeliveryForm, EventTypes, Moment, WebhookId};
use crate::http::{Api, Success, success};
use crate::store::{
    AcceptCall, CallLimit, CallerPolicy, DialStrategy, EndpointFormat, EndpointId, EndpointSpec,
    EventType, PromptSettings, RateLimit, Retention, TenantSettings, TenantStore, Timestamp,
};

pub(crate) const SHORTEST_DURATION: u32 = 300;
pub(crate) const LONGEST_DURATION: u32 = 14_688_000;
pub(crate) const MOST_ENDPOINTS: usize = 20;
pub(crate) const MOST_DAYS: u32 = 3650;
pub(crate) const LONGEST_WARNING: u32 = 3600;

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
    answer(&store, Vec::new()).await
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
    let granted = Granted {
        rate: api.limits.default(),
        calls: api.node.call_limit,
    };
    let change = change(
        object,
        &*store.settings().await?,
        granted,
        &api.node.languages,
    )?;
    let known = store.endpoints().await?;
    for (index, spec) in change.webhooks.iter().flatten().enumerate() {
        if spec
            .id
            .as_ref()
            .is_some_and(|id| known.iter().all(|endpoint| endpoint.id != *id))
        {
            return Err(Problem::of_fields(vec![FieldError {
                field: format!("webhooks[{index}].id"),
                code: Code::UnknownEndpoint,
                message: "is no endpoint of this tenant".into(),
            }]));
        }
    }
    let made = store
        .update_settings(change.settings, change.webhooks, api.now())
        .await?;
    answer(&store, made).await
}

async fn answer(store: &TenantStore, made: Vec<(EndpointId, String)>) -> Result<Response, Problem> {
    let secrets: HashMap<EndpointId, String> = made.into_iter().collect();
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
struct Granted {
    rate: RateLimit,
    calls: CallLimit,
}

struct Change<F> {
    settings: F,
    webhooks: Option<Vec<EndpointSpec>>,
}

/// Reads what is to change. Limits that depend on each other are judged with what stays as it is.
fn change(
    object: Map<String, Value>,
    current: &TenantSettings,
    granted: Granted,
    languages: &[String],
) -> Result<Change<impl Fn(&mut TenantSettings) + Send + use<>>, Problem> {
    let mut fields = Fields::new(object);
    let clear_country = fields.is_null("country");
    let timezone = timezone(&mut fields);
    let country = country(&mut fields);
    let min_duration = fields.integer("min_duration", SHORTEST_DURATION, LONGEST_DURATION);
    let max_duration = fields.integer("max_duration", SHORTEST_DURATION, LONGEST_DURATION);
    if min_duration.unwrap_or(current.min_duration) > max_duration.unwrap_or(current.max_duration) {
        fields.fault(
            "min_duration",
            Code::OutOfRange,
            "must not be over max_duration",
        );
    }
    let pin_cooloff = fields.integer("pin_cooloff", 0, 2_592_000);
    let policies = [("any", CallerPolicy::Any), ("listed", CallerPolicy::Listed)];
    let caller_policy = fields.word("caller_policy", &policies);
    let strategies = [
        ("sequential", DialStrategy::Sequential),
        ("parallel", DialStrategy::Parallel),
    ];
    let dial_strategy = fields.word("dial_strategy", &strategies);
    let ring_timeout = fields.integer("ring_timeout", 5, 180);
    let max_call_duration = fields.integer("max_call_duration", 10, 86_400);
    let ways = [("answer", AcceptCall::Answer), ("key", AcceptCall::Key)];
    let accept_call = fields.word("accept_call", &ways);
    let whisper = fields.boolean("whisper");
    let warning_tone = fields.integer("warning_tone", 0, LONGEST_WARNING);
    let record_announcement = fields.boolean("record_announcement");
    let prompts = prompts(&mut fields, &current.prompts, languages);
    let clear_rate_limit = fields.is_null("rate_limit");
    let rate_limit = rate_limit(&mut fields, current.rate_limit, granted.rate);
    let clear_call_limit = fields.is_null("call_limit");
    let call_limit = call_limit(&mut fields, current.call_limit, granted.calls);
    let keep_everything = fields.is_null("retention").then(Retention::default);
    let retention = retention(&mut fields, current.retention).or(keep_everything);
    let webhooks = webhooks(&mut fields);
    fields.finish()?;
    let settings = move |settings: &mut TenantSettings| {
        set(timezone.clone(), &mut settings.timezone);
        if country.is_some() || clear_country {
            settings.country.clone_from(&country);
        }
        set(min_duration, &mut settings.min_duration);
        set(max_duration, &mut settings.max_duration);
        set(pin_cooloff, &mut settings.pin_cooloff);
        set(caller_policy, &mut settings.caller_policy);
        set(dial_strategy, &mut settings.dial_strategy);
        set(ring_timeout, &mut settings.ring_timeout);
        set(max_call_duration, &mut settings.max_call_duration);
        set(accept_call, &mut settings.accept_call);
        set(whisper, &mut settings.whisper);
        set(warning_tone, &mut settings.warning_tone);
        set(record_announcement, &mut settings.record_announcement);
        set(prompts.clone(), &mut settings.prompts);
        if rate_limit.is_some() || clear_rate_limit {
            settings.rate_limit = rate_limit;
        }
        if call_limit.is_some() || clear_call_limit {
            settings.call_limit = call_limit;
        }
        set(retention, &mut settings.retention);
    };
    Ok(Change { settings, webhooks })
}

fn set<T>(given: Option<T>, place: &mut T) {
    if let Some(value) = given {
        *place = value;
    }
}

/// A tenant can ask for less than the operator grants, not for more.
fn rate_limit(
    fields: &mut Fields,
    current: Option<RateLimit>,
    default: RateLimit,
) -> Option<RateLimit> {
    let granted = |of: fn(&RateLimit) -> u32| of(&default).max(current.as_ref().map_or(0, of));
    let rate = granted(|limit| limit.requests_per_second);
    let burst = granted(|limit| limit.burst);
    let (requests_per_second, burst) = fields.nested("rate_limit", |fields| {
        let rate = fields.required("requests_per_second", |fields, name| {
            fields.integer(name, 1, rate)
        });
        (
            rate,
            fields.required("burst", |fields, name| fields.integer(name, 1, burst)),
        )
    })?;
    Some(RateLimit {
        requests_per_second: requests_per_second?,
        burst: burst?,
    })
}

/// The same for calls.
fn call_limit(
    fields: &mut Fields,
    current: Option<CallLimit>,
    default: CallLimit,
) -> Option<CallLimit> {
    let granted = |of: fn(&CallLimit) -> u32| of(&default).max(current.as_ref().map_or(0, of));
    let calls = granted(|limit| limit.max_calls);
    let rate = granted(|limit| limit.calls_per_second);
    let (max_calls, calls_per_second) = fields.nested("call_limit", |fields| {
        let calls = fields.required("max_calls", |fields, name| fields.integer(name, 1, calls));
        (
            calls,
            fields.required("calls_per_second", |fields, name| {
                fields.integer(name, 1, rate)
            }),
        )
    })?;
    Some(CallLimit {
        max_calls: max_calls?,
        calls_per_second: calls_per_second?,
    })
}

/// What is left out stays; `null` keeps for ever.
fn retention(fields: &mut Fields, current: Retention) -> Option<Retention> {
    fields.nested("retention", |fields| {
        let mut days = |name: &'static str, current: Option<u32>| {
            if fields.is_null(name) {
                fields.take(name);
                return None;
            }
            fields.integer(name, 1, MOST_DAYS).or(current)
        };
        Retention {
            calls: days("calls", current.calls),
            recordings: days("recordings", current.recordings),
            ended_allocations: days("ended_allocations", current.ended_allocations),
        }
    })
}

/// The language must be one that there are prompts of.
fn prompts(
    fields: &mut Fields,
    current: &PromptSettings,
    languages: &[String],
) -> Option<PromptSettings> {
    fields.nested("prompts", |fields| {
        let words: Vec<(&str, usize)> = languages
            .iter()
            .enumerate()
            .map(|(index, language)| (language.as_str(), index))
            .collect();
        let language = fields
            .word("language", &words)
            .and_then(|index| languages.get(index).cloned());
        PromptSettings {
            language: language.unwrap_or_else(|| current.language.clone()),
        }
    })
}

pub(crate) fn timezone(fields: &mut Fields) -> Option<String> {
    let name = fields.text("timezone")?;
    if jiff::tz::TimeZone::get(&name).is_err() {
        fields.fault(
            "timezone",
            Code::InvalidValue,
            "must be an IANA time zone such as Asia/Kolkata",
        );
        return None;
    }
    Some(name)
}

fn country(fields: &mut Fields) -> Option<String> {
    let code = fields.text("country")?;
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        fields.fault(
            "country",
            Code::InvalidValue,
            "must be an ISO 3166-1 code such as IN",
        );
        return None;
    }
    Some(code)
}

fn webhooks(fields: &mut Fields) -> Option<Vec<EndpointSpec>> {
    let items = match fields.take("webhooks")? {
        Value::Array(items) => items,
        _ => {
            fields.fault("webhooks", Code::WrongType, "must be a list of objects");
            return None;
        }
    };
    if items.len() > MOST_ENDPOINTS {
        fields.fault(
            "webhooks",
            Code::TooMany,
            format!("must hold at most {MOST_ENDPOINTS} endpoints"),
        );
        return None;
    }
    let mut specs: Vec<EndpointSpec> = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("webhooks[{index}]");
        match endpoint(item) {
            Ok(spec) if specs.iter().any(|earlier| earlier.url == spec.url) => {
                fields.fault(
                    format!("{place}.url"),
                    Code::Repeated,
                    "is in the list already",
                );
            }
            Ok(spec) => specs.push(spec),
            Err(faults) => faults.into_iter().for_each(
                |FieldError {
                     field,
                     code,
                     message,
                 }| {
                    let field = if field.is_empty() {
                        place.clone()
                    } else {
                        format!("{place}.{field}")
                    };
                    fields.fault(field, code, message);
                },
            ),
        }
    }
    Some(specs)
}

fn endpoint(item: Value) -> Result<EndpointSpec, Vec<FieldError>> {
    let Value::Object(object) = item else {
        let (field, message) = (String::new(), "must be an object".to_owned());
        return Err(vec![FieldError {
            field,
            code: Code::WrongType,
            message,
        }]);
    };
    let mut fields = Fields::new(object);
    let url = fields.required("url", Fields::text);
    if url.as_deref().is_some_and(|url| !is_webhook_url(url)) {
        fields.fault(
            "url",
            Code::InvalidValue,
            "must be an http or https URL without credentials",
        );
    }
    let types = types(&mut fields);
    let format = fields.word(
        "format",
        &EndpointFormat::ALL
            .iter()
            .map(|format| (format.as_str(), *format))
            .collect::<Vec<_>>(),
    );
    let paused = fields.boolean("paused").unwrap_or(false);
    // What is shown can be given back as it is.
    for shown in ["failing_since", "disabled_at", "previous_secret_expires_at"] {
        fields.take(shown);
    }
    let id = fields.text("id").map(|id| EndpointId::parse(&id).ok_or(()));
    if id == Some(Err(())) {
        fields.fault(
            "id",
            Code::InvalidValue,
            "must be the id of an endpoint: ep_ and 26 characters",
        );
    }
    fields.into_faults()?;
    Ok(EndpointSpec {
        id: id.and_then(Result::ok),
        url: url.unwrap_or_default(),
        types,
        format: format.unwrap_or(EndpointFormat::Standard),
        paused,
    })
}

fn is_webhook_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && text.len() <= 2048
    })
}

pub(crate) fn types(fields: &mut Fields) -> Option<Vec<String>> {
    let items = match fields.take("types")? {
        Value::Array(items) => items,
        _ => {
            fields.fault("types", Code::WrongType, "must be a list of event types");
            return None;
        }
    };
    let mut types = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let known = EventType::ALL
            .iter()
            .map(|known| known.as_str())
            .find(|known| item.as_str() == Some(*known));
        match known {
            Some(known) => types.push(known.to_owned()),
            None => fields.fault(
                format!("types[{index}]"),
                Code::InvalidValue,
                "is no type of event",
            ),
        }
    }
    Some(types)
}
