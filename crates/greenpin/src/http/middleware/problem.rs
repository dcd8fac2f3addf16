//! Errors as RFC 9457 problem details.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::store::StoreError;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Stable error codes. The meaning of a code never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code as text for responses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns the HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Returns the cause of the error, in one sentence.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Returns a short title.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not encoded as `Content-Encoding` says.
    InvalidEncoding = "invalid_encoding", 400, "The body is not valid gzip";
    /// The body is not valid JSON, or an object contains a duplicate key.
    InvalidJson = "invalid_json", 400, "The body is not valid JSON";
    /// The head of the request is not valid HTTP, or `Host` is missing or repeated.
    MalformedRequest = "malformed_request", 400, "The request is not valid HTTP";
    /// The file is not a CSV list of numbers, or a line has the wrong number of fields.
    InvalidCsv = "invalid_csv", 400, "The file is not valid CSV";
    /// Fields are missing, unknown or malformed. See `errors` for each field.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// A required field is missing.
    Required = "required", 400, "A required field is missing";
    /// The field does not exist.
    UnknownField = "unknown_field", 400, "The field does not exist";
    /// The value has the wrong JSON type.
    WrongType = "wrong_type", 400, "The value has the wrong type";
    /// The number is not in E.164 form.
    NotE164 = "not_e164", 400, "The number is not in E.164 format";
    /// The text exceeds the maximum length.
    TooLong = "too_long", 400, "The text is too long";
    /// The value is not allowed for this field.
    InvalidValue = "invalid_value", 400, "The value is not allowed";
    /// This version does not support the value.
    NotSupported = "not_supported", 400, "This version does not support the value";
    /// Credentials are missing or wrong.
    Unauthorized = "unauthorized", 401, "Credentials are missing or wrong";
    /// The operator token is missing or wrong.
    OperatorUnauthorized = "operator_unauthorized", 401, "The operator token is missing or wrong";
    /// `http.operator_token` is not configured.
    OperatorApiOff = "operator_api_off", 403, "The operator API is disabled";
    /// The operator has suspended the tenant.
    TenantSuspended = "tenant_suspended", 403, "The tenant is suspended";
    /// The credentials belong to another tenant.
    ForeignTenant = "foreign_tenant", 403, "The credentials belong to another tenant";
    /// The virtual number is not in the tenant's pool.
    NumberNotInPool = "number_not_in_pool", 403, "The number is not in the tenant's pool";
    /// The link is incomplete, or its signature is not from this server.
    LinkInvalid = "link_invalid", 403, "The link is not valid";
    /// The link has expired.
    LinkExpired = "link_expired", 403, "The link has expired";
    /// The resource does not exist.
    NotFound = "not_found", 404, "The resource does not exist";
    /// The call has no trace: it is not written yet, `retention.trace` has removed it, or the node failed during the call.
    TraceNotFound = "trace_not_found", 404, "The call has no trace";
    /// The resource does not support this method.
    MethodNotAllowed = "method_not_allowed", 405, "The resource does not support this method";
    /// The body did not arrive within 20 seconds, or the head of the request within 30 seconds.
    RequestTimeout = "request_timeout", 408, "The request did not arrive in time";
    /// The exclusive number already has an active allocation.
    VirtualNumberBusy = "virtual_number_busy", 409, "The number already has an active allocation";
    /// The number has reached `max_active`, or has no free PIN.
    PinSpaceExhausted = "pin_space_exhausted", 409, "The number cannot take another allocation";
    /// The allocation has already been deleted.
    AlreadyDeleted = "already_deleted", 409, "The allocation is already deleted";
    /// The operator has quarantined the number, so it accepts no new allocations.
    NumberQuarantined = "number_quarantined", 409, "The number is quarantined";
    /// A tenant with this name exists or existed before.
    TenantExists = "tenant_exists", 409, "The tenant name is already taken";
    /// The tenant has been erased, or its erasure is in progress.
    TenantErased = "tenant_erased", 409, "The tenant is erased or being erased";
    /// The tenant has calls in progress.
    TenantHasCalls = "tenant_has_calls", 409, "The tenant has live calls";
    /// The account SID is already in use.
    AccountSidTaken = "account_sid_taken", 409, "The account SID is already in use";
    /// The credential has already been revoked.
    AlreadyRevoked = "already_revoked", 409, "The credential is already revoked";
    /// The number is already in a pool.
    NumberExists = "number_exists", 409, "The number is already in a pool";
    /// The number has active allocations, so this change is not possible.
    NumberInUse = "number_in_use", 409, "The number has active allocations";
    /// The allocation has expired or was deleted.
    AllocationNotActive = "allocation_not_active", 409, "The allocation is not active";
    /// The idempotency key was used for a different request within the last 24 hours.
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The idempotency key was used for a different request";
    /// Another request with the same idempotency key is in progress.
    IdempotencyKeyInUse = "idempotency_key_in_use", 409, "A request with this idempotency key is in progress";
    /// The body exceeds the limit: 64 KiB for JSON, 1 MiB for a prompt, 8 MiB for an import.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The array has more items than one request accepts.
    TooManyItems = "too_many_items", 413, "The array has too many items";
    /// The `Content-Type` is not the expected one, in most cases `application/json`.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not supported";
    /// The address of the request is too long.
    UriTooLong = "uri_too_long", 414, "The address of the request is too long";
    /// The requested range lies outside the file.
    RangeNotSatisfiable = "range_not_satisfiable", 416, "The range is outside the recording";
    /// The request is well formed but violates a rule. See `errors` for each field.
    RuleViolated = "rule_violated", 422, "The request violates a rule";
    /// The file is not a WAV file with 8 kHz, mono, 16-bit PCM, or it is too long.
    InvalidPrompt = "invalid_prompt", 422, "The file is not a valid prompt";
    /// The file has invalid lines, so nothing was imported. See `refused` for each line.
    ImportRefused = "import_refused", 422, "The file has invalid lines";
    /// The tenant does not exist or has been erased.
    NoSuchTenant = "no_such_tenant", 422, "The tenant does not exist";
    /// The number is outside its range.
    OutOfRange = "out_of_range", 422, "The value is out of range";
    /// The list has fewer items than required.
    TooFew = "too_few", 422, "The list has too few items";
    /// The list has more items than allowed.
    TooMany = "too_many", 422, "The list has too many items";
    /// The list contains the item twice.
    Repeated = "repeated", 422, "The list contains the item twice";
    /// The number is in both `from` and `to`.
    OnBothSides = "on_both_sides", 422, "The number is in both 'from' and 'to'";
    /// `to` must list the callers, because the number is shared and has short PINs.
    ToRequired = "to_required", 422, "The number requires 'to'";
    /// The tenant may not dial the number.
    DestinationNotAllowed = "destination_not_allowed", 422, "The number may not be dialled";
    /// With a further allocation, strangers would guess a PIN of the number more easily than `max_guess_odds` allows.
    GuessOddsTooHigh = "guess_odds_too_high", 422, "A PIN of the number would be too easy to guess";
    /// The tenant has no webhook endpoint with this `id`.
    UnknownEndpoint = "unknown_endpoint", 422, "The webhook endpoint does not exist";
    /// The tenant has exceeded its rate limit, or the address has sent too many wrong credentials.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// The head of the request exceeds 32 KiB or 100 header fields.
    HeaderTooLarge = "header_too_large", 431, "The head of the request is too large";
    /// The server failed to process the request.
    Internal = "internal", 500, "Internal server error";
    /// The recording is not available yet: another node is still uploading it.
    RecordingNotReady = "recording_not_ready", 503, "The recording is still being uploaded";
    /// Other nodes have recordings of the tenant and delete them within minutes. Repeat the request then.
    ErasurePending = "erasure_pending", 503, "Other nodes still delete recordings of the tenant";
    /// The server has more requests than it can process.
    Overloaded = "overloaded", 503, "The server is overloaded";
    /// The server cannot reach its database.
    StoreUnreachable = "store_unreachable", 503, "The server cannot reach its database";
    /// The database is full, locked by another process or read-only, or does not answer in time.
    StoreUnavailable = "store_unavailable", 503, "The database does not take the request now";
    /// The server is shutting down or drained.
    Draining = "draining", 503, "The server is draining or shutting down";
}

/// Fault of one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field, such as `from[1]`.
    pub field: String,
    /// Code of the rule.
    #[serde(serialize_with = "code_text")]
    pub code: Code,
    /// Rule in words, for people.
    pub message: String,
}

fn code_text<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

/// Maximum number of faults in a response. The response tells how many more there are.
pub const MAX_FAULTS: usize = 50;
/// Maximum length of a field name in a response, in characters. The name may be that of the request.
const MAX_FIELD_CHARACTERS: usize = 100;
/// Maximum length of a message in a response, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 300;

/// Shortens a text to a number of characters.
fn shorten(text: &mut String, max: usize) {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('…');
    }
}

/// Error response. Its body is rendered later, with the id of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    refused: Vec<RefusedLine>,
    allocation: Option<Box<BusyAllocation>>,
    retry_after: Option<u64>,
    /// A 401 has no `WWW-Authenticate`.
    has_no_challenge: bool,
}

/// Allocation that keeps a number busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BusyAllocation {
    /// Id of the allocation.
    pub(crate) greenpin_id: String,
    /// End of the allocation.
    pub(crate) expires_at: String,
}

/// Rejected line of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RefusedLine {
    /// Line number. The header is line 1.
    #[schema(minimum = 1)]
    pub line: u64,
    /// Column at fault; empty if the whole line is at fault.
    pub field: &'static str,
    /// Code of the rule.
    pub code: &'static str,
    /// Rule in words, for people.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation: Option<&'a BusyAllocation>,
}

impl Problem {
    /// Creates an error of the request as a whole.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code.status() == 503).then_some(1);
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            refused: Vec::new(),
            allocation: None,
            retry_after,
            has_no_challenge: false,
        }
    }

    /// Returns the code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Returns the faults of single fields.
    pub(crate) fn faults(&self) -> &[FieldError] {
        &self.errors
    }

    /// Creates an error with the title of its code as detail.
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.title())
    }

    /// Creates an error from the faults of fields. Malformed fields (400) take precedence over violated rules
    /// (422). It names [`MAX_FAULTS`] of them, and the number of the others.
    pub fn from_fields(mut errors: Vec<FieldError>) -> Self {
        let malformed = errors.iter().any(|error| error.code.status() == 400);
        let code = if malformed {
            Code::InvalidRequest
        } else {
            Code::RuleViolated
        };
        let code = match errors.as_slice() {
            // These rules have their own codes if no other rule is violated.
            [only] if only.code == Code::ToRequired => Code::ToRequired,
            [first, rest @ ..]
                if first.code == Code::DestinationNotAllowed
                    && rest.iter().all(|error| error.code == first.code) =>
            {
                Code::DestinationNotAllowed
            }
            _ => code,
        };
        let omitted = errors.len().saturating_sub(MAX_FAULTS);
        errors.truncate(MAX_FAULTS);
        for error in &mut errors {
            shorten(&mut error.field, MAX_FIELD_CHARACTERS);
            shorten(&mut error.message, MAX_MESSAGE_CHARACTERS);
        }
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let mut detail = format!("See errors: {}", fields.join(", "));
        if omitted > 0 {
            detail.push_str(&format!(", and {omitted} more"));
        }
        Self {
            errors,
            ..Self::new(code, detail)
        }
    }

    /// Keeps the first faults, for an item of a response that has a limit for all items.
    pub(crate) fn limit_faults(&mut self, max: usize) {
        self.errors.truncate(max);
        shorten(&mut self.detail, MAX_MESSAGE_CHARACTERS);
    }

    /// Creates an error from the rejected lines of an import.
    pub fn from_lines(refused: Vec<RefusedLine>) -> Self {
        let detail = format!("{} lines are invalid: see refused.", refused.len());
        Self {
            refused,
            ..Self::new(Code::ImportRefused, detail)
        }
    }

    /// Names the allocation that keeps the number busy.
    pub(crate) fn held_by(self, allocation: BusyAllocation) -> Self {
        Self {
            allocation: Some(Box::new(allocation)),
            ..self
        }
    }

    /// Omits `WWW-Authenticate`, which makes a browser show a dialog of its own.
    pub(crate) fn without_challenge(self) -> Self {
        Self {
            has_no_challenge: true,
            ..self
        }
    }

    /// Sets `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Returns the body of the response, with the id of the request.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            r#type: format!("urn:greenpin:error:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
            errors: &self.errors,
            refused: &self.refused,
            allocation: self.allocation.as_deref(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Returns the error of one item of a bulk request. It omits the request id, which all items share.
    pub(crate) fn to_item_json(&self) -> Value {
        let mut item = serde_json::from_slice(&self.body("")).unwrap_or(Value::Null);
        if let Some(item) = item.as_object_mut() {
            item.remove("request_id");
        }
        item
    }

    /// Renders the body and headers of the response, with the id of the request.
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
        if let Some(challenge) = challenge.filter(|_| !self.has_no_challenge) {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if self.code == Code::UnsupportedMediaType {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(
            self.code,
            Code::BodyTooLarge | Code::MalformedRequest | Code::RequestTimeout
        ) {
            // The server does not read the rest of the request, so the connection cannot be reused.
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

/// Returns the problem of a missing resource.
pub(crate) fn not_found() -> Problem {
    Problem::plain(Code::NotFound)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::new(
                Code::Overloaded,
                "Too many writes are waiting; retry later.",
            ),
            StoreError::Unreachable => Self::plain(Code::StoreUnreachable),
            StoreError::Unavailable(_) => Self::plain(Code::StoreUnavailable),
            StoreError::Closed => Self::plain(Code::Draining),
            error => {
                tracing::error!(%error, "store operation failed");
                Self::plain(Code::Internal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_fifty_faults_and_the_number_of_the_others() {
        let fault = |index| FieldError {
            field: format!("from[{index}]{}", "x".repeat(index)),
            code: Code::NotE164,
            message: "y".repeat(60_000),
        };
        let problem = Problem::from_fields((0..15_000).map(fault).collect());
        assert_eq!(problem.faults().len(), MAX_FAULTS);
        assert!(problem.detail.ends_with(", and 14950 more"));
        assert!(problem.body("id").len() < 32 * 1024);
        let few = Problem::from_fields((0..2).map(fault).collect());
        assert_eq!(few.detail, "See errors: from[0], from[1]x");
    }

    #[test]
    fn each_code_has_a_unique_text_in_snake_case() {
        let texts: std::collections::BTreeSet<_> =
            Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(texts.iter().all(|text| {
            text.bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        }));
    }
}
