//! `GET /openapi.json`, generated once and cacheable by `ETag`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::OPENAPI;

static JSON: LazyLock<Asset> = LazyLock::new(|| Asset {
    media_type: "application/json",
    tag: entity_tag(&OPENAPI),
    body: &OPENAPI,
});

/// Static document of this version.
pub(crate) struct Asset {
    pub(crate) media_type: &'static str,
    pub(crate) tag: String,
    pub(crate) body: &'static str,
}

/// Returns a strong entity tag (RFC 9110, section 8.8.3).
pub(crate) fn entity_tag(body: &str) -> String {
    let digest = digest(&SHA256, body.as_bytes());
    let mut tag = String::from("\"");
    for byte in digest.as_ref().iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

impl Asset {
    /// Returns the document, or 304 if the client's copy is current.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Response {
        let mut response = match self.is_known(headers) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.body.into_response(),
        };
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::CONTENT_TYPE, self.media_type);
        set(header::ETAG, &self.tag);
        set(header::CACHE_CONTROL, "no-cache");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        response
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut tags = known.flat_map(|value| value.split(','));
        tags.any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == self.tag)
    }
}

/// Read the OpenAPI document
///
/// OpenAPI 3.1, with an `ETag`.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "Server",
    params(("If-None-Match" = Option<String>, Header, description = "`ETag` of your copy.")),
    responses(
        (status = 200, description = "The document.", content_type = "application/json", body = serde_json::Value,
            headers(("ETag" = String, description = "Changes with the document."))),
        (status = 304, description = "Your copy is current."),
    )
)]
pub(in crate::http) async fn openapi(headers: HeaderMap) -> Response {
    JSON.response(&headers)
}
