//! Rules of the outbox on real databases, at times chosen by the tests.

use std::time::Duration;

use call::PhoneNumber;
use tempfile::TempDir;

use super::super::*;
use super::postgres;

mod replay;

const NUMBER: &str = "+914000000001";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const DISABLE_AFTER: Duration = Duration::from_secs(5 * DAY);
const LEASE: Duration = Duration::from_secs(60);

/// Store with one tenant, one shared number with PINs of 6 digits, and endpoints.
struct OutboxBench {
    store: Store,
    tenant: TenantStore,
    start: Timestamp,
    _folder: TempDir,
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

/// Answer with a body.
fn answer(body: &str) -> StoredAnswer {
    StoredAnswer {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
    }
}

impl OutboxBench {
    async fn with(endpoints: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = if module_path!().ends_with("on_postgresql") {
            Database::Server(Box::new(postgres::new_database().parse().unwrap()))
        } else {
            Database::File(folder.path().join("greenpin.db"))
        };
        let key_file = folder.path().join("master.key");
        let store = Store::open(&StoreOptions::new(database, key_file)).unwrap();
        let start = Timestamp::from_micros(1_781_499_600_000_000);
        let tenant_id = TenantId::parse("acme").unwrap();
        let new = NewTenant {
            tenant_id: tenant_id.clone(),
            account_sid: "AC1".into(),
            token: None,
            settings: TenantSettings::default(),
            webhooks: endpoints.iter().map(|url| EndpointSpec::to(*url)).collect(),
        };
        assert!(store.create_tenant(new, start).await.is_ok());
        let vn = number(NUMBER);
        let new = NewNumber {
            virtual_number: vn,
            mode: NumberMode::Shared,
            pin_length: 6,
            max_active: 200,
        };
        store
            .add_number(tenant_id.clone(), new, start)
            .await
            .unwrap();
        Self {
            tenant: store.tenant(tenant_id),
            store,
            start,
            _folder: folder,
        }
    }

    fn at(&self, seconds: u64) -> Timestamp {
        self.start + Duration::from_secs(seconds)
    }

    async fn allocate(&self, seconds: u64) -> GreenpinId {
        let new = NewAllocation {
            virtual_number: number(NUMBER),
            from: vec![number("+919900000001")],
            to: Vec::new(),
            duration: Duration::from_secs(100 * DAY),
            max_pin_attempts: 3,
            record: false,
            custom_field: None,
        };
        self.tenant
            .create_allocation(new, self.at(seconds))
            .await
            .unwrap()
            .greenpin_id
    }

    async fn due(&self, id: &EndpointId) -> DueEndpoint {
        let due = self.store.due_endpoints().await.unwrap();
        let mut found = due.into_iter().filter(|due| due.endpoint_id == *id);
        found.next().unwrap()
    }

    async fn claim(&self, seconds: u64) -> Vec<Delivery> {
        let due = self.store.due_endpoints().await.unwrap();
        let wanted = due.into_iter().map(|endpoint| (endpoint, 10)).collect();
        self.store
            .claim_deliveries("node-1", wanted, LEASE, self.at(seconds))
            .await
            .unwrap()
    }

    async fn end(&self, delivery: &Delivery, outcome: AttemptOutcome, seconds: u64) {
        let status = if outcome == AttemptOutcome::Delivered {
            204
        } else {
            500
        };
        let attempt = Attempt {
            begun_at: self.at(seconds),
            latency: Duration::from_millis(7),
            status: Some(status),
            error: None,
            answer: format!("answer at {seconds}"),
        };
        let now = self.at(seconds);
        self.store
            .end_attempt(delivery, attempt, outcome, DISABLE_AFTER, now)
            .await
            .unwrap();
    }

    /// Claims the only delivery and fails it, with a retry after 10 seconds.
    async fn fail(&self, seconds: u64) {
        let claimed = self.claim(seconds).await;
        assert_eq!(claimed.len(), 1, "at {seconds}");
        self.end(
            &claimed[0],
            AttemptOutcome::RetryAt(self.at(seconds + 10)),
            seconds,
        )
        .await;
    }

    /// Start of the failures and time of the disabling of the first endpoint.
    async fn health(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let endpoint = self.endpoint().await;
        (endpoint.failing_since, endpoint.disabled_at)
    }

    async fn types(&self) -> Vec<String> {
        let events = self.tenant.events_after(None, 100).await.unwrap();
        let event = |event: &LoggedEvent| -> serde_json::Value {
            serde_json::from_str(&event.body).unwrap()
        };
        events
            .iter()
            .map(|one| event(one)["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Endpoints in the order of their URLs. The ids of endpoints created at once are in random order.
    async fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = self.tenant.endpoints().await.unwrap();
        endpoints.sort_by(|left, right| left.url.cmp(&right.url));
        endpoints
    }

    async fn endpoint(&self) -> Endpoint {
        self.endpoints().await.remove(0)
    }
}

#[tokio::test]
async fn each_attempt_is_stored_with_its_result_for_thirty_days() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    bench.allocate(0).await;
    bench.fail(1).await;
    let claimed = bench.claim(20).await.remove(0);
    bench.end(&claimed, AttemptOutcome::Delivered, 20).await;
    let kept = bench
        .tenant
        .deliveries(&claimed.event_id)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(
        (kept.state, kept.attempt_count, kept.finished_at),
        (DeliveryState::Delivered, 2, Some(bench.at(20)))
    );
    let seen: Vec<_> = kept
        .attempts
        .iter()
        .map(|attempt| (attempt.begun_at, attempt.status, attempt.answer.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (bench.at(20), Some(204), "answer at 20"),
            (bench.at(1), Some(500), "answer at 1")
        ]
    );
    assert_eq!(
        bench
            .store
            .delete_old_attempts(bench.at(30 * DAY + 5))
            .await,
        Ok(1)
    );
    let kept = bench
        .tenant
        .deliveries(&claimed.event_id)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(kept.attempts.len(), 1);
    let other = bench.store.tenant(TenantId::parse("other").unwrap());
    assert_eq!(
        other.deliveries(&claimed.event_id).await,
        Ok(None),
        "nobody else's"
    );
}

#[tokio::test]
async fn a_rotated_secret_and_its_predecessor_are_live_until_the_end_of_the_overlap() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    bench.allocate(0).await;
    let first = bench.claim(1).await.remove(0);
    let [old] = first.secrets.as_slice() else {
        panic!("one secret")
    };
    let id = bench.endpoint().await.id;
    let new = bench
        .tenant
        .rotate_secret(&id, bench.at(1000), |_| answer("a"))
        .await
        .unwrap()
        .unwrap();
    assert_ne!(*old, new);
    assert_eq!(
        bench.claim(100).await[0].secrets,
        [new.clone(), old.clone()],
        "the newest first"
    );
    let third = bench
        .tenant
        .rotate_secret(&id, bench.at(1000), |_| answer("a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        bench.claim(200).await[0].secrets,
        [third.clone(), new],
        "two at the most"
    );
    assert_eq!(bench.claim(1000).await[0].secrets, [third]);
    let unknown = EndpointId::new(bench.start);
    assert_eq!(
        bench
            .tenant
            .rotate_secret(&unknown, bench.at(1), |_| answer("a"))
            .await,
        Ok(None)
    );
}

#[tokio::test]
async fn events_for_a_paused_endpoint_are_sent_after_the_pause_with_their_full_retry_period() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    let id = bench.endpoint().await.id;
    let spec = |paused| EndpointSpec {
        id: Some(id.clone()),
        paused,
        ..EndpointSpec::to("https://a.example/")
    };
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec(true)]), bench.at(0))
        .await
        .unwrap();
    for seconds in 1..=3 {
        bench.allocate(seconds).await;
    }
    assert!(bench.claim(10 * DAY).await.is_empty());
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec(false)]), bench.at(10 * DAY))
        .await
        .unwrap();
    let claimed = bench.claim(10 * DAY + 1).await;
    assert_eq!(claimed.len(), 3);
    assert!(
        claimed
            .iter()
            .all(|delivery| delivery.tried_at == bench.at(10 * DAY + 1)),
        "its time begins with its first try"
    );
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_with_one_event_and_can_be_enabled() {
    let bench = OutboxBench::with(&["https://a.example/", "https://b.example/"]).await;
    let all = bench.endpoints().await;
    let only_b = EndpointSpec {
        types: Some(vec!["endpoint.disabled".into()]),
        ..EndpointSpec::to("https://b.example/")
    };
    let specs = vec![EndpointSpec::to("https://a.example/"), only_b];
    let updated = bench
        .tenant
        .update_settings(|_| (), Some(specs), bench.start);
    updated.await.unwrap();
    bench.allocate(0).await;
    for hour in 1..5 * 24 {
        bench.fail(hour * HOUR).await;
    }
    assert_eq!(bench.health().await, (Some(bench.at(HOUR)), None));
    bench.fail(5 * DAY + HOUR).await;
    assert_eq!(
        bench.endpoint().await.disabled_at,
        Some(bench.at(5 * DAY + HOUR))
    );
    assert_eq!(bench.store.disabled_endpoints().await, Ok(1));
    bench.allocate(5 * DAY + HOUR).await;
    let claimed = bench.claim(6 * DAY).await;
    let to: Vec<_> = claimed
        .iter()
        .map(|delivery| {
            (
                &delivery.endpoint_id,
                delivery.body.contains("endpoint.disabled"),
            )
        })
        .collect();
    assert_eq!(
        to,
        [(&all[1].id, true)],
        "the others are told, and nothing goes to the one"
    );
    assert_eq!(
        bench.types().await,
        [
            "allocation.created",
            "endpoint.disabled",
            "allocation.created"
        ]
    );
    bench
        .end(&claimed[0], AttemptOutcome::Delivered, 6 * DAY)
        .await;
    assert_eq!(bench.tenant.enable_endpoint(&all[0].id).await, Ok(true));
    assert_eq!(
        bench.claim(6 * DAY).await.len(),
        3,
        "what waited goes, and what tells of the disabling"
    );
    assert_eq!(bench.health().await, (None, None));
    let unknown = EndpointId::new(bench.start);
    assert_eq!(bench.tenant.enable_endpoint(&unknown).await, Ok(false));
}

#[tokio::test]
async fn one_success_resets_the_failures() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    bench.allocate(0).await;
    for hour in 1..100 {
        bench.fail(hour * HOUR).await;
    }
    let claimed = bench.claim(100 * HOUR).await.remove(0);
    bench
        .end(&claimed, AttemptOutcome::Delivered, 100 * HOUR)
        .await;
    assert_eq!(bench.endpoint().await.failing_since, None);
    bench.allocate(101 * HOUR).await;
    for hour in 102..200 {
        bench.fail(hour * HOUR).await;
    }
    assert_eq!(bench.endpoint().await.disabled_at, None);
}

#[tokio::test]
async fn a_clock_jump_disables_no_endpoint_and_neither_loses_nor_reorders_deliveries() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    let id = bench.allocate(100 * DAY).await;
    bench.fail(100 * DAY).await;
    bench.fail(106 * DAY).await;
    assert_eq!(
        bench.endpoint().await.disabled_at,
        None,
        "two failures are not six days of them"
    );
    // The clock goes back by 100 days: later events get earlier times and later positions.
    bench.tenant.rotate_pin(&id, bench.at(1)).await.unwrap();
    bench
        .tenant
        .delete_allocation(&id, bench.at(2))
        .await
        .unwrap();
    assert!(
        bench.claim(3).await.is_empty(),
        "what was put off to a moment that is far away now waits for it"
    );
    bench.store.release_deliveries(bench.at(3)).await.unwrap();
    let mut seen = Vec::new();
    for seconds in 4..7 {
        let claimed = bench.claim(seconds).await;
        assert_eq!(claimed.len(), 1);
        let event: serde_json::Value = serde_json::from_str(&claimed[0].body).unwrap();
        seen.push((
            event["sequence"].as_i64().unwrap(),
            claimed[0].event_id.clone(),
        ));
        bench
            .end(&claimed[0], AttemptOutcome::Delivered, seconds)
            .await;
    }
    assert_eq!(
        seen.iter().map(|entry| entry.0).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        seen.is_sorted_by(|entry, next| entry.1 < next.1),
        "the log's order is that of the writing"
    );
}

#[tokio::test]
async fn a_long_backlog_of_one_endpoint_does_not_delay_claims_for_another() {
    let bench = OutboxBench::with(&["https://a.example/", "https://b.example/"]).await;
    let endpoints = bench.endpoints().await;
    for second in 0..50 {
        bench.allocate(second).await;
    }
    let wanted = vec![(bench.due(&endpoints[1].id).await, 5)];
    let claimed = bench
        .store
        .claim_deliveries("node-1", wanted, LEASE, bench.at(60))
        .await
        .unwrap();
    assert_eq!(claimed.len(), 5);
    assert!(
        claimed
            .iter()
            .all(|delivery| delivery.endpoint_id == endpoints[1].id)
    );
    let due = bench.store.due_endpoints().await.unwrap();
    let mut due: Vec<_> = due
        .iter()
        .map(|endpoint| (&endpoint.endpoint_id, endpoint.due_at))
        .collect();
    due.sort_by_key(|(_, due_at)| *due_at);
    assert_eq!(
        due,
        [
            (&endpoints[0].id, bench.at(0)),
            (&endpoints[1].id, bench.at(5))
        ]
    );
}

#[tokio::test]
async fn a_restarted_node_releases_its_own_claims_only() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    let id = bench.endpoint().await.id;
    for second in 0..2 {
        bench.allocate(second).await;
    }
    let due = bench.due(&id).await;
    let claim = async |node: &str| {
        bench
            .store
            .claim_deliveries(node, vec![(due.clone(), 1)], LEASE, bench.at(5))
            .await
            .unwrap()
    };
    let (first, second) = (claim("one").await, claim("other").await);
    assert_eq!(
        (first.len(), second.len(), claim("one").await.len()),
        (1, 1, 0)
    );
    bench
        .store
        .release_deliveries_of("one", bench.at(5))
        .await
        .unwrap();
    let again = bench.claim(5).await;
    assert_eq!((again.len(), &again[0].event_id), (1, &first[0].event_id));
    bench
        .end(&again[0], AttemptOutcome::RetryAt(bench.at(100)), 6)
        .await;
    bench
        .store
        .release_deliveries_of("node-1", bench.at(6))
        .await
        .unwrap();
    assert!(
        bench.claim(6).await.is_empty(),
        "what is to be tried later is nobody's meanwhile"
    );
}
