//! The API: durable creates and reads over HTTP, with few and many stored allocations, beside a
//! bare server in the same run.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Goal::{AtLeast, AtMost, Open};
use super::child::{
    BenchStore, Prepared, SID, Server, TENANT, TOKEN, address, any_port, cpu_of, number, spawn,
};
use super::{Figure, load, progress};
use crate::store::{Allocation, NumberMode};

/// Stored allocations at the first measurement.
const FEW_STORED: u32 = 1000;
/// Time for which the store is filled before its size is checked again.
const FILL_TIME: Duration = Duration::from_secs(10);

/// Measures with a thousand stored allocations, and again with `stored` ones if that is more.
pub(super) async fn measure(
    time: Duration,
    stored: u32,
    store: &BenchStore,
) -> Result<Vec<Figure>, String> {
    progress("the baseline of creates and reads");
    let baseline = baseline(store.url.as_deref(), time).await?;
    let prepared = Prepared::on(store).await?;
    prepared.add_number(number(1)?, NumberMode::Shared).await?;
    prepared
        .add_number(number(2)?, NumberMode::Exclusive)
        .await?;
    let one = prepared.allocate(number(2)?, false).await?;
    for _ in 1..FEW_STORED {
        prepared.allocate(number(1)?, false).await?;
    }
    let server = prepared.start(any_port()).await?;
    let (few, made) = Rates::measure(&server, &one, time).await?;
    let mut figures = few.figures(&baseline, FEW_STORED);
    if stored > FEW_STORED {
        fill(&server, f64::from(stored) - f64::from(FEW_STORED) - made).await?;
        let (many, _) = Rates::measure(&server, &one, time).await?;
        figures.extend(many.figures(&baseline, stored));
        let growth = [
            ("create", few.creates / many.creates),
            ("GET", few.gets / many.gets),
            ("list", few.lists / many.lists),
            ("resolve", few.resolves / many.resolves),
        ];
        let grown = |(name, ratio)| {
            Figure::new(
                format!("cost of a {name} at {stored} against {FEW_STORED}"),
                ratio,
                "x",
                AtMost(1.2),
            )
        };
        figures.extend(growth.map(grown));
        figures.push(Figure::new(
            "CPU of a create at so many, against the first",
            many.cpu / few.cpu,
            "x",
            AtMost(1.2),
        ));
        progress("a start after kill -9");
        let took = server.restart().await?.took.as_secs_f64();
        figures.push(Figure::new(
            format!("start after kill -9, {stored} stored"),
            took,
            "s",
            AtMost(2.0),
        ));
    }
    Ok(figures)
}

/// Creates at least `missing` allocations through the API.
async fn fill(server: &Server, mut missing: f64) -> Result<(), String> {
    let create = create()?;
    while missing > 0.0 {
        progress(&format!("filling the store: {missing:.0} to go"));
        missing -= load::run(server.http, &create, 201, FILL_TIME).await? * FILL_TIME.as_secs_f64();
    }
    Ok(())
}

fn create() -> Result<String, String> {
    Ok(request("POST", "/greenpin", &create_body()?))
}

fn create_body() -> Result<String, String> {
    let body = json!({
        "caller_id_number": number(1)?.expose(), "from": "+919900000001", "to": "+918800000001",
        "duration": 86400,
    });
    Ok(body.to_string())
}

/// Requests per second of each kind.
struct Rates {
    creates: f64,
    /// Microseconds of server CPU per create.
    cpu: f64,
    gets: f64,
    lists: f64,
    resolves: f64,
}

impl Rates {
    /// Measures reads, with exactly the stored allocations, then creates. Also returns the number
    /// of creates.
    async fn measure(
        server: &Server,
        one: &Allocation,
        time: Duration,
    ) -> Result<(Self, f64), String> {
        let get = request("GET", &format!("/greenpin/{}", one.greenpin_id), "");
        let resolve = json!({
            "virtual_number": number(2)?.expose(), "caller": "+918800000001", "digits": one.pin.expose(),
        });
        let resolve = request("POST", "/greenpin/resolve", &resolve.to_string());
        progress("reads");
        let gets = load::run(server.http, &get, 200, time / 2).await?;
        let lists = load::run(server.http, &request("GET", "/greenpin", ""), 200, time / 2).await?;
        let resolves = load::run(server.http, &resolve, 200, time / 2).await?;
        progress("durable creates");
        let before = server.cpu()?;
        let creates = load::run(server.http, &create()?, 201, time).await?;
        let cpu = each(server.cpu()? - before, creates, time);
        Ok((
            Self {
                creates,
                cpu,
                gets,
                lists,
                resolves,
            },
            creates * time.as_secs_f64(),
        ))
    }

    fn figures(&self, baseline: &Baseline, stored: u32) -> Vec<Figure> {
        let of = |part: f64, whole: f64| part / whole * 100.0;
        let figure = |name: &str, value, unit, goal| {
            Figure::new(format!("{name}, {stored} stored"), value, unit, goal)
        };
        vec![
            figure("durable creates", self.creates, "/s", Open),
            figure("CPU a create", self.cpu, "us", Open),
            Figure::new(
                "baseline: bare axum, allocation and outbox row",
                baseline.creates,
                "/s",
                Open,
            ),
            Figure::new("CPU a request of the baseline", baseline.cpu, "us", Open),
            figure(
                "creates as a share of the baseline",
                of(self.creates, baseline.creates),
                "%",
                AtLeast(60.0),
            ),
            figure("GET one", self.gets, "/s", Open),
            Figure::new("bare axum \"hello\"", baseline.hello, "/s", Open),
            figure(
                "GET one as a share of \"hello\"",
                of(self.gets, baseline.hello),
                "%",
                AtLeast(50.0),
            ),
            figure("lists of 50", self.lists, "/s", Open),
            figure("resolves", self.resolves, "/s", Open),
        ]
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    let credentials = STANDARD.encode(format!("{SID}:{TOKEN}"));
    format!(
        "{method} /v1/tenants/{TENANT}{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Figures of the bare server.
struct Baseline {
    /// Requests per second that each store an allocation and an outbox row durably.
    creates: f64,
    /// Microseconds of its CPU per such request.
    cpu: f64,
    /// Requests per second that do nothing.
    hello: f64,
}

async fn baseline(database: Option<&str>, time: Duration) -> Result<Baseline, String> {
    let arguments: Vec<&str> = std::iter::once("bench-baseline").chain(database).collect();
    let (process, ready) = spawn(&arguments, "the baseline is ready").await?;
    let http = address(&ready, "http")?;
    let body = create_body()?;
    let create = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = cpu_of(&process)?;
    let creates = load::run(http, &create, 201, time).await?;
    let cpu = each(cpu_of(&process)? - before, creates, time);
    let hello = load::run(
        http,
        "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n",
        200,
        time / 2,
    )
    .await?;
    Ok(Baseline {
        creates,
        cpu,
        hello,
    })
}

/// Returns microseconds of CPU per request.
fn each(cpu: Duration, rate: f64, time: Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / (rate * time.as_secs_f64()).max(1.0)
}
