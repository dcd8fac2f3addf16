//! Durable creates and reads over HTTP, beside a bare server in the same run.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Goal::{AtLeast, Open};
use super::child::{Prepared, SID, TENANT, TOKEN, address, anywhere, cpu_of, number, spawn};
use super::{Figure, load, progress};
use crate::store::NumberMode;

pub(super) async fn measure(time: Duration) -> Result<Vec<Figure>, String> {
    let body = json!({
        "caller_id_number": number(1)?.expose(),
        "from": "+919900000001",
        "to": "+918800000001",
        "duration": 3600,
    });
    let body = body.to_string();
    progress("the floor of creates and reads");
    let floor = floor(&body, time).await?;

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
    progress("durable creates");
    let before = server.cpu()?;
    let creates = load::run(server.http, &create, 201, time).await?;
    let cpu = each(server.cpu()? - before, creates, time);
    let get = head("GET", &format!("/greenpin/{one}"), 0);
    progress("reads");
    let gets = load::run(server.http, &get, 200, time / 2).await?;
    Ok(vec![
        Figure::new("durable creates", creates, "/s", Open),
        Figure::new("CPU a create", cpu, "us", Open),
        Figure::new("floor: bare axum and SQLite, two rows each", floor.creates, "/s", Open),
        Figure::new("CPU a request of the floor", floor.cpu, "us", Open),
        Figure::new("creates as a share of the floor", creates / floor.creates * 100.0, "%", AtLeast(60.0)),
        Figure::new("GET one", gets, "/s", Open),
        Figure::new("bare axum \"hello\"", floor.hello, "/s", Open),
        Figure::new("GET one as a share of \"hello\"", gets / floor.hello * 100.0, "%", AtLeast(50.0)),
    ])
}

/// What the barest server reaches.
struct Floor {
    /// Requests a second, each two durable rows.
    creates: f64,
    /// Microseconds of its CPU for each of them.
    cpu: f64,
    /// Requests a second that need nothing.
    hello: f64,
}

async fn floor(body: &str, time: Duration) -> Result<Floor, String> {
    let (process, ready) = spawn(&["bench-floor"], "the floor is ready").await?;
    let http = address(&ready, "http")?;
    let create = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = cpu_of(&process)?;
    let creates = load::run(http, &create, 201, time).await?;
    let cpu = each(cpu_of(&process)? - before, creates, time);
    let hello = load::run(http, "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n", 200, time / 2).await?;
    Ok(Floor { creates, cpu, hello })
}

/// Microseconds of CPU for each of so many requests a second.
fn each(cpu: Duration, rate: f64, time: Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / (rate * time.as_secs_f64()).max(1.0)
}
