//! Webhooks: the delay from the durable event to the delivery, and the speed of draining a backlog.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Goal::Open;
use super::child::{BenchStore, Prepared, SID, Server, TENANT, TOKEN, any_port, number, tenant};
use super::{Figure, progress};
use crate::server::local_client;
use crate::store::{EndpointSpec, NumberMode, Timestamp};

/// Creates per second while delays are measured: a light load.
const RATE: u64 = 100;
/// Concurrent creates while the backlog is filled.
const CONCURRENT_CREATES: u32 = 256;
/// Interval at which the server's memory is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Time without a delivery after which the backlog counts as stuck.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Measures delays for `time`, then drains a backlog of `backlog` events.
pub(super) async fn measure(
    time: Duration,
    backlog: u32,
    store: &BenchStore,
) -> Result<Vec<Figure>, String> {
    let receiver = Receiver::open().await?;
    let prepared = Prepared::on(store).await?;
    prepared.add_number(number(1)?, NumberMode::Shared).await?;
    let url = format!("http://{}/", receiver.address);
    let paused = EndpointSpec {
        paused: true,
        ..EndpointSpec::to(url.clone())
    };
    let settings = prepared.store.tenant(tenant()?);
    settings
        .update_settings(|_| (), Some(vec![paused]), Timestamp::now())
        .await
        .map_err(|error| error.to_string())?;
    drop(settings);
    fill(&prepared, backlog).await?;
    let server = prepared.start(any_port()).await?;
    let http = local_client::builder().build();
    let client = Client {
        http: http.map_err(|error| error.to_string())?,
        server: server.http,
    };
    let mut figures = drain(&server, &client, &receiver, &url, backlog).await?;
    figures.extend(delays(&client, &receiver, time).await?);
    Ok(figures)
}

/// Creates allocations, each with a pending event.
async fn fill(prepared: &Prepared, backlog: u32) -> Result<(), String> {
    let (mut left, number) = (backlog, number(1)?);
    while left > 0 {
        if left.is_multiple_of(CONCURRENT_CREATES * 100) {
            progress(&format!("making the backlog: {left} to go"));
        }
        let batch = left.min(CONCURRENT_CREATES);
        let made = (0..batch).map(|_| prepared.allocate(number, false));
        for one in futures_util::future::join_all(made).await {
            one?;
        }
        left -= batch;
    }
    Ok(())
}

async fn drain(
    server: &Server,
    client: &Client,
    receiver: &Receiver,
    url: &str,
    backlog: u32,
) -> Result<Vec<Figure>, String> {
    progress("draining the backlog");
    let (before, mut most, cpu) = (server.resident()?, 0_f64, server.cpu()?);
    let begun = Instant::now();
    client
        .send(
            "PUT",
            "/settings",
            &json!({ "webhooks": [{ "url": url, "paused": false }] }),
            200,
        )
        .await?;
    let (mut seen, mut seen_at) = (0, Instant::now());
    while seen < u64::from(backlog) {
        tokio::time::sleep(SAMPLE_INTERVAL).await;
        most = most.max(server.resident()?);
        let now = receiver.count.load(Ordering::Relaxed);
        if now > seen {
            (seen, seen_at) = (now, Instant::now());
        } else if seen_at.elapsed() > TIMEOUT {
            return Err(format!("only {seen} of {backlog} webhooks came"));
        }
    }
    let took = (seen_at - begun).as_secs_f64();
    let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / f64::from(backlog);
    let name = |what: &str| format!("{what}, {backlog} waiting");
    Ok(vec![
        Figure::new(
            name("webhooks drained"),
            f64::from(backlog) / took,
            "/s",
            Open,
        ),
        Figure::new(name("CPU a webhook"), cpu, "us", Open),
        Figure::new(name("RSS before"), before / 1024.0, "MiB", Open),
        Figure::new(
            name("RSS grown at most"),
            (most - before) / 1024.0,
            "MiB",
            Open,
        ),
    ])
}

/// Measures the time from the response to a create, which is durable by then, to the arrival of its
/// webhook.
async fn delays(
    client: &Client,
    receiver: &Receiver,
    time: Duration,
) -> Result<Vec<Figure>, String> {
    progress("delays of webhooks");
    receiver.arrivals().clear();
    let body = json!({ "caller_id_number": number(1)?.expose(), "from": "+919900000001" });
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / RATE));
    let mut requests = tokio::task::JoinSet::new();
    let until = Instant::now() + time;
    while Instant::now() < until {
        ticks.tick().await;
        let (client, body) = (client.clone(), body.clone());
        requests.spawn(async move {
            let made = client.send("POST", "/greenpin", &body, 201).await?;
            let id = made
                .pointer("/response/greenpin_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Ok::<_, String>((id.to_owned(), Instant::now()))
        });
    }
    let mut delays = Vec::new();
    for made in requests.join_all().await {
        let (id, durable_at) = made?;
        delays.push(
            receiver
                .arrival(&id)
                .await?
                .saturating_duration_since(durable_at),
        );
    }
    delays.sort_unstable();
    let share = |of: usize| {
        let index = (delays.len() * of / 100).min(delays.len().saturating_sub(1));
        delays
            .get(index)
            .map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
    };
    let figure = |what: &str, value| {
        Figure::new(
            format!("commit to webhook, {what}, at {RATE}/s"),
            value,
            "ms",
            Open,
        )
    };
    Ok(vec![figure("p50", share(50)), figure("p99", share(99))])
}

/// HTTP client of the benchmark's tenant.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    server: SocketAddr,
}

impl Client {
    async fn send(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        status: u16,
    ) -> Result<Value, String> {
        let url = format!("http://{}/v1/tenants/{TENANT}{path}", self.server);
        let method = method.parse().map_err(|_| "no method".to_owned())?;
        let request = self
            .http
            .request(method, url)
            .basic_auth(SID, Some(TOKEN))
            .json(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let found = answer.status().as_u16();
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if found == status {
            Ok(body)
        } else {
            Err(body.to_string())
        }
    }
}

/// Receiver that answers everything with 204.
struct Receiver {
    address: SocketAddr,
    count: Arc<AtomicU64>,
    /// Arrival time of the first event of each allocation.
    arrivals: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Receiver {
    async fn open() -> Result<Self, String> {
        let listener = TcpListener::bind(any_port())
            .await
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (count, arrivals) = (
            Arc::new(AtomicU64::new(0)),
            Arc::<Mutex<HashMap<_, _>>>::default(),
        );
        let (counted, noted) = (count.clone(), arrivals.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, arrivals) = (counted.clone(), noted.clone());
                tokio::spawn(serve(stream, move |body| {
                    count.fetch_add(1, Ordering::Relaxed);
                    note(&arrivals, body);
                }));
            }
        });
        Ok(Self {
            address,
            count,
            arrivals,
        })
    }

    fn arrivals(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the event of an allocation.
    async fn arrival(&self, greenpin_id: &str) -> Result<Instant, String> {
        let until = Instant::now() + TIMEOUT;
        loop {
            if let Some(arrival) = self.arrivals().get(greenpin_id) {
                return Ok(*arrival);
            }
            if Instant::now() > until {
                return Err(format!("no webhook came for {greenpin_id}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn note(arrivals: &Mutex<HashMap<String, Instant>>, body: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Event {
        greenpin_id: Option<String>,
    }
    let Ok(Event {
        greenpin_id: Some(id),
    }) = serde_json::from_slice(body)
    else {
        return;
    };
    arrivals
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(id)
        .or_insert_with(Instant::now);
}

/// Serves requests on a connection until it closes.
async fn serve(mut stream: TcpStream, came: impl Fn(&[u8])) {
    let mut received = Vec::new();
    loop {
        let Some((head, length)) = head(&received) else {
            match stream.read_buf(&mut received).await {
                Ok(count) if count > 0 => continue,
                _ => return,
            }
        };
        while received.len() < head + length {
            match stream.read_buf(&mut received).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        }
        came(received.get(head..head + length).unwrap_or_default());
        received.drain(..head + length);
        if stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Returns offset and length of a request's body once its head is complete.
fn head(received: &[u8]) -> Option<(usize, usize)> {
    let end = received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?
        + 4;
    let head = String::from_utf8_lossy(received.get(..end)?).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    Some((end, length.unwrap_or(0)))
}
