//! Round trips to the database, counted on the wire. A local database has none.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Maximum number of round trips of a PIN attempt, and of all writes of a call that is answered.
const MAX_PIN_ATTEMPT: u64 = 3;
const MAX_CALL: u64 = 12;

/// Counts the round trips on a connection: each request that follows an answer.
#[derive(Default)]
struct RoundTrips(AtomicU64);

/// Proxy in front of the database server. It ends with the runtime of the test.
async fn counting_proxy(
    server: &tokio_postgres::Config,
) -> (tokio_postgres::Config, Arc<RoundTrips>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (target, own) = (server.get_ports()[0], listener.local_addr().unwrap().port());
    let count = Arc::<RoundTrips>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(forward(client, server, counted.clone()));
        }
    });
    let database = server.get_dbname().unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{own}/{database}");
    (url.parse().unwrap(), count)
}

/// Returns a store behind the proxy; `None` for a local database.
async fn counted_bench() -> Option<(Bench, Arc<RoundTrips>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    let Database::Server(server) = &options.database else {
        return None;
    };
    let (proxied, count) = counting_proxy(server).await;
    options.database = Database::Server(Box::new(proxied));
    Some((Bench::open(options, folder).await, count))
}

async fn forward(mut client: TcpStream, mut server: TcpStream, count: Arc<RoundTrips>) {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut was_answered = true;
    loop {
        tokio::select! {
            biased;
            read = server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                was_answered = true;
                client.write_all(&answer[..length]).await.unwrap();
            }
            read = client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                if std::mem::take(&mut was_answered) {
                    count.0.fetch_add(1, Ordering::Relaxed);
                }
                server.write_all(&request[..length]).await.unwrap();
            }
        }
    }
}

async fn end(bench: &Bench, sid: &CallSid, seconds: u64) {
    let ended = bench.store.end_call(sid, ending(bench.at(seconds)));
    ended.await.unwrap();
}

impl RoundTrips {
    /// Runs an operation and returns its round trips.
    async fn of<T>(&self, operation: impl Future<Output = T>) -> (T, u64) {
        let before = self.0.load(Ordering::Relaxed);
        let result = operation.await;
        (result, self.0.load(Ordering::Relaxed) - before)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_attempt_and_a_call_take_few_round_trips() {
    let Some((bench, count)) = counted_bench().await else {
        return;
    };
    for vn in [EXCLUSIVE, SHARED] {
        let made = bench.create(vn, 0).await.unwrap();
        // The first call prepares the statements.
        for is_warm in [false, true] {
            let ((sid, _), begin) = count.of(bench.call(vn, Some(CUSTOMER), 1)).await;
            let wrong = wrong(&made.pin);
            let (_, refused) = count.of(bench.attempt_pin(&sid, &wrong, 2)).await;
            let pin = made.pin.expose();
            let (verdict, accepted) = count.of(bench.attempt_pin(&sid, pin, 3)).await;
            assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
            let (_, progress) = count.of(bench.ring_and_answer(&sid, 4, 5)).await;
            let (_, end) = count.of(end(&bench, &sid, 9)).await;
            let call = begin + accepted + progress + end;
            let counted =
                format!("{vn}: {begin} + {accepted} (refused {refused}) + {progress} + {end}");
            if is_warm {
                assert!(
                    refused <= MAX_PIN_ATTEMPT && accepted <= MAX_PIN_ATTEMPT,
                    "{counted}"
                );
                assert!(call <= MAX_CALL, "{counted}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_written_together_share_their_round_trips() {
    let Some((bench, count)) = counted_bench().await else {
        return;
    };
    let mut made = Vec::new();
    for index in 0..40 {
        let vn = format!("+9140000001{index:02}");
        let new = NewNumber::with_defaults(number(&vn), NumberMode::Exclusive, None, None);
        let tenant = bench.tenant.tenant_id().clone();
        let added = bench.store.add_number(tenant, new.unwrap(), bench.start);
        added.await.unwrap();
        made.push(bench.create(&vn, 0).await.unwrap());
    }
    let run = async || {
        let calls = made.iter().map(async |allocation| {
            let vn = allocation.virtual_number.expose();
            let (sid, _) = bench.call(&vn, Some(CUSTOMER), 50).await;
            let verdict = bench.attempt_pin(&sid, allocation.pin.expose(), 51).await;
            assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
            bench.ring_and_answer(&sid, 52, 53).await;
            end(&bench, &sid, 54).await;
        });
        futures_util::future::join_all(calls).await;
    };
    run().await;
    let ((), trips) = count.of(run()).await;
    // Alone, each of the 40 calls would take 10.
    assert!(trips <= 200, "{trips} round trips");
    let types = bench.event_types().await;
    let completed = types.iter().filter(|name| *name == "call.completed");
    assert_eq!(completed.count(), 80);
    for allocation in &made {
        let read = bench.tenant.allocation(&allocation.greenpin_id).await;
        let read = read.unwrap().unwrap();
        assert_eq!((read.failed_pin_attempts, read.call_count), (0, 2));
    }
}
