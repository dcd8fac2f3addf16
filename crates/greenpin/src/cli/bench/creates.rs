//! Durable creates and reads over HTTP, beside a bare server in the same run.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Figure;
use super::child::{Prepared, SID, TENANT, TOKEN, address, anywhere, number, spawn};
use super::load;
use crate::store::NumberMode;

pub(super) async fn measure(time: Duration) -> Result<Vec<Figure>, String> {
    let body = json!({
        "caller_id_number": number(1)?.expose(),
        "from": "+919900000001",
        "to": "+918800000001",
        "duration": 3600,
    });
    let body = body.to_string();
    let (floor, hello) = floor(&body, time).await?;

    let prepared = Prepared::new().await?;
    prepared.add_number(number(1)?, NumberMode::Shared).await?;
    prepared.add_number(number(2)?, NumberMode::Exclusive).await?;
    let one = prepared.allocate(number(2)?, false).await?.greenpin_id;
    let server = prepared.start(anywhere()).await?;
    let credentials = STANDARD.encode(format!("{SID}:{TOKEN}"));
    let head = |method: &str, path: &str, length: usize| {
        format!(
            "{method} /v1/tenants/{TENANT}{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let create = format!("{}{body}", head("POST", "/greenpin", body.len()));
    let creates = load::run(server.http, &create, 201, time).await?;
    let get = head("GET", &format!("/greenpin/{one}"), 0);
    let gets = load::run(server.http, &get, 200, time / 2).await?;
    Ok(vec![
        Figure::new("durable creates", creates, "/s", ""),
        Figure::new("floor: bare axum and SQLite, two rows each", floor, "/s", ""),
        Figure::new("creates as a share of the floor", creates / floor * 100.0, "%", "60 or more"),
        Figure::new("GET one", gets, "/s", ""),
        Figure::new("bare axum \"hello\"", hello, "/s", ""),
        Figure::new("GET one as a share of \"hello\"", gets / hello * 100.0, "%", "50 or more"),
    ])
}

async fn floor(body: &str, time: Duration) -> Result<(f64, f64), String> {
    let (_process, ready) = spawn(&["bench-floor"], "the floor is ready").await?;
    let http = address(&ready, "http")?;
    let create = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let creates = load::run(http, &create, 201, time).await?;
    let hello = load::run(http, "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n", 200, time / 2).await?;
    Ok((creates, hello))
}
