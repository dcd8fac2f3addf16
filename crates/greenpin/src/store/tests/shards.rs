//! Shards of the writers: tenants of different shards do not wait for each other. A local database has one writer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio_postgres::Client;

use super::super::super::core::write_scope::tenant_shard;
use super::keys::operator;
use super::*;

impl Bench {
    /// Creates a tenant in another shard, with a shared number.
    async fn other_shard(&self) -> TenantStore {
        let new = other_tenant();
        let tenant_id = new.tenant_id.clone();
        assert_ne!(
            tenant_shard(&tenant_id),
            tenant_shard(self.tenant.tenant_id())
        );
        let created = self.store.create_tenant(new, self.start).await;
        assert!(created.is_ok());
        let new = NewNumber {
            virtual_number: number(WIDE),
            mode: NumberMode::Shared,
            pin_length: 4,
            max_active: 200,
        };
        let added = self.store.add_number(tenant_id.clone(), new, self.start);
        added.await.unwrap();
        self.store.tenant(tenant_id)
    }

    /// Holds the shard of a tenant, as a frozen node does; `None` on a local database.
    async fn hold(&self, tenant: &TenantStore) -> Option<Client> {
        let Database::Server(server) = &self.options.database else {
            return None;
        };
        let (client, connection) = server.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let shard = tenant_shard(tenant.tenant_id());
        let hold = format!("BEGIN; SELECT FROM writer_shards WHERE shard = {shard} FOR UPDATE");
        client.batch_execute(&hold).await.unwrap();
        Some(client)
    }
}

/// Waits until a writer waits for a lock.
async fn wait_for_waiter(client: &Client) {
    let waiters = "SELECT FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while client.query(waiters, &[]).await.unwrap().is_empty() {
        // A transaction sees the activity as it was at its first look.
        let clear = "SELECT pg_stat_clear_snapshot()";
        client.batch_execute(clear).await.unwrap();
    }
}

#[tokio::test]
async fn a_held_shard_delays_its_own_tenants_only() {
    let bench = Bench::new().await;
    let other = bench.other_shard().await;
    let (member, _) = bench.join_as("node-1", 1).await;
    let Some(holder) = bench.hold(&bench.tenant).await else {
        return;
    };
    let mut held = pin!(bench.create(SHARED, 1));
    poll_fn(|context| {
        assert!(held.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    wait_for_waiter(&holder).await;
    // Creates, calls, PIN attempts, sessions and heartbeats of others go on.
    let made = other.create_allocation(wanted(WIDE), bench.at(1)).await;
    let made = made.unwrap();
    let (sid, _) = bench.call(WIDE, Some(CUSTOMER), 2).await;
    let verdict = bench.attempt_pin(&sid, made.pin.expose(), 3).await;
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    bench.ring_and_answer(&sid, 4, 5).await;
    let beat = member.heartbeat(NodeState::default(), bench.at(6)).await;
    assert!(matches!(beat, Ok(Heartbeat::Recorded { .. })), "{beat:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn a_write_of_all_rows_waits_for_every_shard() {
    let bench = Bench::new().await;
    let other = bench.other_shard().await;
    let Some(holder) = bench.hold(&other).await else {
        return;
    };
    let operator = operator(&bench.store);
    let suspend = operator.suspend(bench.tenant.tenant_id(), bench.at(1));
    let release = async {
        wait_for_waiter(&holder).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (suspended, ()) = tokio::join!(suspend, release);
    suspended.unwrap();
}

#[tokio::test]
async fn a_call_to_a_number_that_another_node_has_moved_reaches_its_new_tenant() {
    let bench = Bench::new().await;
    let other = bench.other_shard().await;
    let (sid, _) = bench.call(SHARED, Some(CUSTOMER), 1).await;
    bench
        .store
        .end_call(&sid, ending(bench.at(2)))
        .await
        .unwrap();
    let node = Store::open(&bench.options).unwrap();
    let moved = operator(&node)
        .move_number(number(SHARED), other.tenant_id().clone(), bench.at(3))
        .await;
    moved.unwrap();
    let (sid, _) = bench.call(SHARED, Some(CUSTOMER), 4).await;
    assert!(other.call(&sid).await.unwrap().is_some());
    assert!(bench.tenant.call(&sid).await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_of_any_writer_comes_after_the_earlier_ones_of_its_tenant() {
    let bench = Bench::new().await;
    let other = bench.other_shard().await;
    let mut last = None;
    for second in 1..20 {
        // The clock of one writer is behind: its ids continue all the same.
        let now = bench.at(40 - second);
        let writes = [&bench.tenant, &other];
        for tenant in writes {
            let vn = if tenant.tenant_id() == other.tenant_id() {
                WIDE
            } else {
                SHARED
            };
            tenant.create_allocation(wanted(vn), now).await.unwrap();
        }
        let page = other.events_after(last.clone(), 10).await.unwrap();
        assert_eq!(page.len(), 1, "nothing appears behind the cursor");
        last = EventId::parse(&page[0].event_id);
    }
}
