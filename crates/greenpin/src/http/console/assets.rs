//! Pages and files of the console. The bundle in `console/dist` of this crate is part of the program.

use std::io::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::{Code, Problem};

/// The console runs only its own scripts and styles, talks only to its own server and shows in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// Files with their version in the address never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// File of the bundle.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

impl Asset {
    fn new(name: &'static str, media_type: &'static str, content: &'static [u8]) -> Self {
        Self {
            name,
            media_type,
            plain: Bytes::from_static(content),
            gzip: gzip(content),
        }
    }
}

fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to a vector does not fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default().into()
}

macro_rules! bundled {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/dist/", $name))
    };
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new(
            "app.js",
            "text/javascript; charset=utf-8",
            bundled!("app.js"),
        ),
        Asset::new("app.css", "text/css; charset=utf-8", bundled!("app.css")),
        Asset::new("icon.svg", "image/svg+xml", bundled!("icon.svg")),
    ]
});

/// Version of the bundle: a part of the digest of its files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let files: Vec<u8> = ASSETS
        .iter()
        .flat_map(|asset| asset.plain.iter().copied())
        .collect();
    let digest = digest(&SHA256, &files);
    let start = digest.as_ref().iter().take(8);
    start.map(|byte| format!("{byte:02x}")).collect()
});

/// The page of every address of the console.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = String::from_utf8_lossy(bundled!("index.html"));
    page.replace("{version}", &VERSION).into()
});

/// `GET /console` and every address below it without a file: the page, which shows what its address names.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let tag = format!("\"{}\"", *VERSION);
    if is_known(&headers, &tag) {
        return with_headers(StatusCode::NOT_MODIFIED.into_response(), "no-cache", &tag);
    }
    let mut response = PAGE.clone().into_response();
    set(
        &mut response,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    set(&mut response, header::CONTENT_SECURITY_POLICY, POLICY);
    with_headers(response, "no-cache", &tag)
}

/// `GET /console/assets/{version}/{name}`. A page of another node or of an earlier version may name another version; it
/// gets the file of this one, which it must not keep.
pub(super) async fn asset(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let caching = match version == *VERSION {
        true => IMMUTABLE,
        false => "no-store",
    };
    let tag = format!("\"{}-{name}\"", *VERSION);
    if is_known(&headers, &tag) {
        let response = StatusCode::NOT_MODIFIED.into_response();
        return Ok(with_headers(response, caching, &tag));
    }
    let takes_gzip = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains("gzip")));
    let body = match takes_gzip {
        true => asset.gzip.clone(),
        false => asset.plain.clone(),
    };
    let mut response = body.into_response();
    set(&mut response, header::CONTENT_TYPE, asset.media_type);
    set(&mut response, header::VARY, "accept-encoding");
    if takes_gzip {
        set(&mut response, header::CONTENT_ENCODING, "gzip");
    }
    Ok(with_headers(response, caching, &tag))
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag)
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

fn with_headers(mut response: Response, caching: &'static str, tag: &str) -> Response {
    set(&mut response, header::CACHE_CONTROL, caching);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, header::REFERRER_POLICY, "no-referrer");
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    set(&mut response, opener, "same-origin");
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
