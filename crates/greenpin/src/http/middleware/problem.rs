//! Errors as RFC 9457 problem details.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::store::StoreError;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The stable codes of errors. They never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as it stands in an answer.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that it brings.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// When it comes, in a sentence.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// What it means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or holds a key twice.
    InvalidJson = "invalid_json", 400, "The body is not valid JSON";
    /// The file is no list of numbers, or a line of it has a wrong number of fields.
    InvalidCsv = "invalid_csv", 400, "The file is not a list of numbers";
    /// Fields are missing, unknown or of a wrong form; `errors` names each.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// A required field is missing.
    MissingField = "missing_field", 400, "A required field is missing";
    /// A field that does not exist.
    UnknownField = "unknown_field", 400, "The field is not known";
    /// A value of a wrong type.
    WrongType = "wrong_type", 400, "The value has a wrong type";
    /// A number that is not in E.164 form.
    NotE164 = "not_e164", 400, "The number is not in E.164 form";
    /// A text that is longer than allowed.
    TooLong = "too_long", 400, "The text is too long";
    /// A value that is none of those allowed.
    InvalidValue = "invalid_value", 400, "The value is not allowed";
    /// Something that this version does not do.
    NotSupported = "not_supported", 400, "Not supported by this version";
    /// No credentials, or wrong ones.
    Unauthorized = "unauthorized", 401, "Credentials are missing or wrong";
    /// No operator token, or a wrong one.
    OperatorUnauthorized = "operator_unauthorized", 401, "The operator token is missing or wrong";
    /// The configuration holds no `http.operator_token`.
    OperatorApiOff = "operator_api_off", 403, "The operator API is off";
    /// The operator lets the tenant do nothing new.
    TenantSuspended = "tenant_suspended", 403, "The tenant is suspended";
    /// The credentials are of another tenant.
    ForeignTenant = "foreign_tenant", 403, "The credentials are of another tenant";
    /// The virtual number is not in the tenant's pool.
    NumberNotInPool = "number_not_in_pool", 403, "The number is not in the tenant's pool";
    /// The link was not made by this server, or is not whole.
    LinkInvalid = "link_invalid", 403, "The link is not valid";
    /// The time of the link is over.
    LinkExpired = "link_expired", 403, "The link has expired";
    /// There is no such resource.
    NotFound = "not_found", 404, "There is no such resource";
    /// The resource does not serve this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The body did not arrive in time";
    /// The exclusive number has an active allocation.
    VirtualNumberBusy = "virtual_number_busy", 409, "The number has an active allocation";
    /// The number has no PIN, or no place, left.
    PinSpaceExhausted = "pin_space_exhausted", 409, "The number can take no further allocation";
    /// The allocation was deleted before.
    AlreadyDeleted = "already_deleted", 409, "The allocation was deleted before";
    /// The operator lets the number take no new allocations.
    NumberQuarantined = "number_quarantined", 409, "The number is quarantined";
    /// There is a tenant of this name already, or there was one.
    TenantExists = "tenant_exists", 409, "The tenant exists already";
    /// The tenant was erased, or is being erased.
    TenantErased = "tenant_erased", 409, "The tenant was erased";
    /// Calls of the tenant are under way.
    TenantHasCalls = "tenant_has_calls", 409, "Calls of the tenant are under way";
    /// The account SID is in use already.
    AccountSidTaken = "account_sid_taken", 409, "The account SID is in use";
    /// The credential was revoked before.
    AlreadyRevoked = "already_revoked", 409, "The credential was revoked before";
    /// The number is in a pool already.
    NumberExists = "number_exists", 409, "The number is in a pool already";
    /// Active allocations of the number forbid the change.
    NumberInUse = "number_in_use", 409, "The number has active allocations";
    /// The allocation has expired or was deleted.
    AllocationNotActive = "allocation_not_active", 409, "The allocation is not active";
    /// The idempotency key was used for another request within the last 24 hours.
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The idempotency key was used for another request";
    /// A request with the same idempotency key is being done.
    IdempotencyKeyInUse = "idempotency_key_in_use", 409, "A request with this idempotency key is being done";
    /// The body is over 64 KiB, over 1 MiB as a prompt, or over 8 MiB in an import.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The array holds more items than one request can take.
    TooManyItems = "too_many_items", 413, "The array has too many items";
    /// The body is not declared as what is expected: JSON nearly everywhere.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be application/json";
    /// The range asked for is not in the file.
    RangeNotSatisfiable = "range_not_satisfiable", 416, "The range is not in the recording";
    /// Well formed, but against a rule; `errors` names each.
    RuleViolated = "rule_violated", 422, "The request is against a rule";
    /// The file is no WAV file of 8 kHz, mono, 16-bit PCM, or too long.
    InvalidPrompt = "invalid_prompt", 422, "The file cannot be a prompt";
    /// Lines of a file are at fault; `refused` names each, and nothing was imported.
    ImportRefused = "import_refused", 422, "Nothing was imported";
    /// A tenant that does not exist, or was erased.
    NoSuchTenant = "no_such_tenant", 422, "There is no such tenant";
    /// A number out of its range.
    OutOfRange = "out_of_range", 422, "The number is out of its range";
    /// Fewer items than required.
    TooFew = "too_few", 422, "The list has too few items";
    /// More items than allowed.
    TooMany = "too_many", 422, "The list has too many items";
    /// An item that is in its list twice.
    Repeated = "repeated", 422, "The item is in the list twice";
    /// A number that is in `from` and in `to`.
    OnBothSides = "on_both_sides", 422, "The number is on both sides";
    /// The number has short shared PINs, so that `to` must name the callers.
    ToRequired = "to_required", 422, "The number needs 'to'";
    /// An `id` that no webhook endpoint of the tenant has.
    UnknownEndpoint = "unknown_endpoint", 422, "There is no such webhook endpoint";
    /// The tenant asks too often, or too many wrong credentials come from the address.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// A fault of ours.
    Internal = "internal", 500, "An internal error";
    /// The recording is on another node still; its upload is under way.
    RecordingNotReady = "recording_not_ready", 503, "The recording is being uploaded";
    /// More requests than can be served now.
    Overloaded = "overloaded", 503, "Overloaded";
    /// The database server cannot be reached.
    StoreUnreachable = "store_unreachable", 503, "The database cannot be reached";
    /// The server is being shut down.
    Draining = "draining", 503, "The server is shutting down";
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Which field, such as `from[1]`.
    pub field: String,
    /// What kind of fault.
    #[serde(serialize_with = "code_text")]
    pub code: Code,
    /// The rule, for people.
    pub message: String,
}

fn code_text<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

/// An error answer. It becomes a body once the request's id is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    refused: Vec<RefusedLine>,
    retry_after: Option<u64>,
}

/// A line of an import that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RefusedLine {
    /// Its number; the header is line 1.
    #[schema(minimum = 1)]
    pub line: u64,
    /// The column at fault; empty: the line as a whole.
    pub field: &'static str,
    /// What kind of fault.
    pub code: &'static str,
    /// The rule, for people.
    pub message: String,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refused: &'a [RefusedLine],
}

impl Problem {
    /// An error of the request as a whole.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code.status() == 503).then_some(1);
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            refused: Vec::new(),
            retry_after,
        }
    }

    /// Returns the faults of single fields.
    pub(crate) fn faults(&self) -> &[FieldError] {
        &self.errors
    }

    /// An error whose title says it all.
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.title())
    }

    /// Everything that is wrong with the fields of a request. What is malformed (400) goes before what is only
    /// against a rule (422).
    pub fn from_fields(errors: Vec<FieldError>) -> Self {
        let malformed = errors.iter().any(|error| error.code.status() == 400);
        let code = if malformed {
            Code::InvalidRequest
        } else {
            Code::RuleViolated
        };
        let code = match errors.as_slice() {
            // A lone rule of the product has a name of its own.
            [only] if only.code == Code::ToRequired => Code::ToRequired,
            _ => code,
        };
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("See errors: {}", fields.join(", "));
        Self {
            errors,
            ..Self::new(code, detail)
        }
    }

    /// An import that failed on some of its lines.
    pub fn from_lines(refused: Vec<RefusedLine>) -> Self {
        let detail = format!("{} lines are at fault: see refused.", refused.len());
        Self {
            refused,
            ..Self::new(Code::ImportRefused, detail)
        }
    }

    /// Says after how many seconds another try is worth while.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    fn body(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            r#type: format!("urn:greenpin:error:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
            errors: &self.errors,
            refused: &self.refused,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The error of one item among many: all of the above but the id of the request, which is everybody's.
    pub(crate) fn to_item_json(&self) -> Value {
        let mut item = serde_json::from_slice(&self.body("")).unwrap_or(Value::Null);
        if let Some(item) = item.as_object_mut() {
            item.remove("request_id");
        }
        item
    }

    /// Writes the answer's body, with the id of its request.
    pub(crate) fn render(&self, response: &mut Response, request_id: &str) {
        *response.body_mut() = Body::from(self.body(request_id));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let challenge = match self.code {
            Code::Unauthorized => Some("Basic realm=\"greenpin\", charset=\"UTF-8\""),
            Code::OperatorUnauthorized => Some("Bearer realm=\"greenpin\""),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self.code, Code::BodyTooLarge | Code::RequestTimeout) {
            // The rest of the body is not read: the connection cannot be used again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Returns the problem of a thing that does not exist.
pub(crate) fn not_found() -> Problem {
    Problem::plain(Code::NotFound)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::new(
                Code::Overloaded,
                "More writes wait than can be served; try again.",
            ),
            StoreError::Unreachable => Self::plain(Code::StoreUnreachable),
            StoreError::Closed => Self::plain(Code::Draining),
            error => {
                tracing::error!(%error, "a request failed in the store");
                Self::plain(Code::Internal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_text_of_its_own_in_snake_case() {
        let texts: std::collections::BTreeSet<_> =
            Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(texts.iter().all(|text| {
            text.bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        }));
    }
}
