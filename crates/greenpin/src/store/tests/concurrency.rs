//! Concurrent creates on one store and on two.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::super::super::*;
use super::{Bench, WIDE, number, wanted};

/// Number of concurrent clients, enough for group commits.
const CROWD: usize = 48;

impl Bench {
    async fn with_wide_number() -> Self {
        let bench = Self::new().await;
        bench.share_wide(6, 100_000).await;
        bench
    }

    /// Starts clients that create allocations on a store, `each` times in sequence.
    fn crowd(&self, store: &Store, each: usize, made: &Arc<AtomicUsize>) -> JoinSet<Vec<Made>> {
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (tenant, now) = (store.tenant(self.tenant.tenant_id().clone()), self.at(1));
            let made = made.clone();
            crowd.spawn(async move {
                let mut all = Vec::new();
                for _ in 0..each {
                    all.push(tenant.create_allocation(wanted(WIDE), now).await);
                    made.fetch_add(1, Ordering::Relaxed);
                }
                all
            });
        }
        crowd
    }

    /// Allocations of the events, in the order of the events.
    async fn told_of(&self) -> Vec<String> {
        let (mut told, mut after) = (Vec::new(), None);
        loop {
            let page = self.tenant.events_after(after, 1000).await.unwrap();
            let Some(last) = page.last() else { return told };
            after = EventId::parse(&last.event_id);
            let body = |event: &LoggedEvent| {
                serde_json::from_str::<serde_json::Value>(&event.body).unwrap()
            };
            told.extend(
                page.iter()
                    .map(|event| body(event)["greenpin_id"].as_str().unwrap().to_owned()),
            );
        }
    }

    async fn active(&self) -> usize {
        let capacities = self.tenant.capacities(self.at(1)).await.unwrap();
        let wide = capacities
            .iter()
            .find(|capacity| capacity.number.virtual_number == number(WIDE))
            .unwrap();
        wide.number.active.try_into().unwrap()
    }
}

type Made = Result<Allocation, CreateError>;

fn distinct<T: std::hash::Hash + Eq>(all: impl IntoIterator<Item = T>) -> usize {
    all.into_iter().collect::<HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creates_on_two_stores_repeat_no_pin_and_write_one_event_each() {
    let bench = Bench::with_wide_number().await;
    let other = Store::open(&bench.options).unwrap();
    let made = Arc::default();
    let alone = bench.crowd(&bench.store, 20, &made);
    let mut all: Vec<_> = alone.join_all().await.into_iter().flatten().collect();
    let (first, second) = (
        bench.crowd(&bench.store, 20, &made),
        bench.crowd(&other, 5, &made),
    );
    let (first, second) = tokio::join!(first.join_all(), second.join_all());
    all.extend(first.into_iter().chain(second).flatten());
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), CROWD * 45);
    assert_eq!(distinct(all.iter().map(|made| made.pin.clone())), all.len());
    assert_eq!(bench.active().await, all.len());
    let told = bench.told_of().await;
    assert_eq!((told.len(), distinct(told)), (all.len(), all.len()));
}

/// Terminates the connection of the writer, on PostgreSQL.
async fn hang_up(database: &Database) {
    let Database::Server(server) = database else {
        return;
    };
    let (client, connection) = server.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let writers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND query LIKE '%writer_shards%' AND pid <> pg_backend_pid()";
    client.batch_execute(writers).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_creates_survive_a_lost_connection() {
    let bench = Bench::with_wide_number().await;
    let made = Arc::<AtomicUsize>::default();
    let crowd = bench.crowd(&bench.store, 60, &made);
    for times in 1..=5 {
        while made.load(Ordering::Relaxed) < times * CROWD * 10 {
            tokio::task::yield_now().await;
        }
        hang_up(&bench.options.database).await;
    }
    let all: Vec<_> = crowd.join_all().await.into_iter().flatten().collect();
    let answered: Vec<_> = all.iter().flatten().collect();
    assert!(
        answered.len() >= CROWD * 40,
        "{} were answered",
        answered.len()
    );
    for made in &answered {
        assert!(
            bench
                .tenant
                .allocation(&made.greenpin_id)
                .await
                .unwrap()
                .is_some()
        );
    }
    let (told, active) = (bench.told_of().await, bench.active().await);
    // A client without an answer may have an allocation nevertheless.
    assert!(
        (answered.len()..=all.len()).contains(&active),
        "{active} are active"
    );
    assert_eq!((told.len(), distinct(told)), (active, active));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_writes_again_after_another_node_held_the_lease_too_long() {
    let bench = Bench::with_wide_number().await;
    let Database::Server(server) = &bench.options.database else {
        return assert!(bench.create(WIDE, 1).await.is_ok());
    };
    let (client, connection) = server.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // Another node holds the lease until the server cancels the waiting lock.
    client
        .batch_execute("BEGIN; SELECT FROM writer_shards FOR UPDATE")
        .await
        .unwrap();
    let waiting = bench.create(WIDE, 1);
    let cancel = async {
        let waiters = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while client.query(waiters, &[]).await.unwrap().is_empty() {
            // A transaction sees the activity as it was at its first look.
            let clear = "SELECT pg_stat_clear_snapshot()";
            client.batch_execute(clear).await.unwrap();
        }
    };
    let (refused, ()) = tokio::join!(waiting, cancel);
    assert!(matches!(refused, Err(CreateError::Store(_))), "{refused:?}");
    client.batch_execute("COMMIT").await.unwrap();
    bench.create(WIDE, 1).await.unwrap();
}

#[tokio::test]
async fn two_requests_at_once_cannot_empty_the_range_of_durations() {
    let bench = Bench::new().await;
    let other = Store::open(&bench.options).unwrap();
    let other = other.tenant(bench.tenant.tenant_id().clone());
    let raise = |settings: &mut TenantSettings| settings.min_duration = 100_000;
    let lower = |settings: &mut TenantSettings| settings.max_duration = 50_000;
    let (raised, lowered) = tokio::join!(
        bench.tenant.update_settings(raise, None, bench.at(1)),
        other.update_settings(lower, None, bench.at(1)),
    );
    let refused = [raised, lowered].map(|result| result == Err(SettingsError::Durations));
    assert_ne!(refused[0], refused[1], "one of them is refused");
    bench.create(super::SHARED, 2).await.unwrap();
}
