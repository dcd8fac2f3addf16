//! `/console`: the web console. Its pages are a client of the public API, signed in by a cookie.
//!
//! - `assets`: the pages and their files, built from `console/` of this crate.
//! - `session`: sign-in and sign-out.
//! - `reveal`: numbers and PINs in clear, each with an audit entry; search by a number; the tenant's audit log and its
//!   latest requests.
//! - `webhook_test`: a test event to a webhook endpoint.

mod assets;
mod reveal;
mod session;
mod webhook_test;

use axum::Router;
use axum::routing::{delete, get, post};

use super::Api;

/// Returns the routes of the console. They are no part of the public API.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route(
            "/console/session",
            post(session::sign_in)
                .get(session::read)
                .delete(session::sign_out),
        )
        .route("/console/sessions", delete(session::sign_out_everywhere))
        .route("/console/reveal", post(reveal::reveal))
        .route("/console/search", post(reveal::search).get(assets::page))
        .route("/console/audit-log", get(reveal::audit))
        .route("/console/request-log", get(reveal::requests))
        .route("/console/credentials", get(reveal::credentials))
        .route("/console/webhook-test", post(webhook_test::send))
        .route("/console/assets/{version}/{name}", get(assets::asset))
        .route("/console", get(assets::page))
        .route("/console/", get(assets::page))
        .route("/console/{*path}", get(assets::page))
}
