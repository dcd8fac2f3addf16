//! Rules of the store on real databases, at times chosen by the tests.

use std::collections::HashSet;
use std::time::Duration;

use call::{PhoneNumber, Pin};
use tempfile::TempDir;

use super::super::*;
use super::postgres;

mod changes;
mod concurrency;
mod idempotency;
mod lists;
mod operators;
mod pin_attempts;
mod recordings;
mod resolution;
mod retention;

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const OPEN: &str = "+914000000003";
const WIDE: &str = "+914000000004";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";
const STRANGER: &str = "+917700000001";

/// Raw content of the database.
fn raw(database: &Database) -> Vec<u8> {
    match database {
        Database::File(path) => {
            let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
            files
                .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .collect()
        }
        Database::Server(server) => postgres::dump(server.get_dbname().unwrap()),
    }
}

/// Store with one tenant, an exclusive number, a shared number with PINs of 4 digits, and one with PINs of 6 digits.
struct Bench {
    store: Store,
    tenant: TenantStore,
    start: Timestamp,
    options: StoreOptions,
    _folder: TempDir,
}

/// Second tenant.
fn other_tenant() -> NewTenant {
    NewTenant {
        tenant_id: TenantId::parse("other").unwrap(),
        account_sid: "AC2".into(),
        token: None,
        settings: TenantSettings::default(),
        webhooks: Vec::new(),
    }
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

/// Database for this copy of the suite.
fn database(folder: &TempDir) -> Database {
    if module_path!().ends_with("on_postgresql") {
        Database::Server(Box::new(postgres::new_database().parse().unwrap()))
    } else {
        Database::File(folder.path().join("greenpin.db"))
    }
}

fn options(folder: &TempDir) -> StoreOptions {
    let key_file = folder.path().join("master.key");
    StoreOptions::new(database(folder), key_file)
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let store = Store::open(&options).unwrap();
        let start = Timestamp::from_micros(1_781_499_600_000_000);
        let tenant_id = TenantId::parse("acme").unwrap();
        let new = NewTenant {
            tenant_id: tenant_id.clone(),
            account_sid: "AC1".into(),
            token: Some("secret".into()),
            settings: TenantSettings::default(),
            webhooks: Vec::new(),
        };
        store
            .create_tenant(new, start)
            .await
            .map_err(|error| error.to_string())
            .unwrap();
        for (text, mode, pin_length) in [
            (EXCLUSIVE, NumberMode::Exclusive, 4),
            (SHARED, NumberMode::Shared, 4),
            (OPEN, NumberMode::Shared, 6),
        ] {
            let new = NewNumber {
                virtual_number: number(text),
                mode,
                pin_length,
                max_active: 200,
            };
            store
                .add_number(tenant_id.clone(), new, start)
                .await
                .unwrap();
        }
        Self {
            tenant: store.tenant(tenant_id),
            store,
            start,
            options,
            _folder: folder,
        }
    }

    fn at(&self, seconds: u64) -> Timestamp {
        self.start + Duration::from_secs(seconds)
    }

    /// Adds the wide shared number with a given PIN length and limit.
    async fn share_wide(&self, pin_length: u8, max_active: u32) {
        let wide = NewNumber {
            virtual_number: number(WIDE),
            mode: NumberMode::Shared,
            pin_length,
            max_active,
        };
        self.store
            .add_number(self.tenant.tenant_id().clone(), wide, self.start)
            .await
            .unwrap();
    }

    async fn create(&self, vn: &str, seconds: u64) -> Result<Allocation, CreateError> {
        self.tenant
            .create_allocation(wanted(vn), self.at(seconds))
            .await
    }

    async fn call(&self, vn: &str, caller: Option<&str>, seconds: u64) -> (CallSid, Route) {
        let started_at = self.at(seconds);
        let call_sid = CallSid::new(started_at);
        let call = NewCall {
            call_sid: call_sid.clone(),
            virtual_number: number(vn),
            caller: caller.map(number),
            trunk: "carrier".into(),
            node: "node-1".into(),
            started_at,
        };
        (call_sid, self.store.begin_call(call).await.unwrap().route)
    }

    /// Records ringing and answer of the agent.
    async fn ring_and_answer(&self, sid: &CallSid, rings_at: u64, answers_at: u64) {
        let agent = number(AGENT);
        let ringing = self.store.call_ringing(sid, agent, self.at(rings_at));
        ringing.await.unwrap();
        let answered = self.store.call_answered(sid, agent, self.at(answers_at));
        answered.await.unwrap();
    }

    async fn attempt_pin(&self, sid: &CallSid, digits: &str, seconds: u64) -> Verdict {
        self.store
            .attempt_pin(sid, &Pin::parse(digits).unwrap(), self.at(seconds))
            .await
            .unwrap()
    }

    /// Claims every due delivery.
    async fn claim(&self, lease: Duration, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let due = self.store.due_endpoints().await?;
        let wanted = due
            .into_iter()
            .map(|endpoint| (endpoint.endpoint_id, 10))
            .collect();
        self.store
            .claim_deliveries("node-1", wanted, lease, now)
            .await
    }

    async fn end(&self, delivery: &Delivery, outcome: AttemptOutcome, now: Timestamp) {
        let (latency, status) = (Duration::from_millis(7), Some(200));
        let attempt = Attempt {
            begun_at: now,
            latency,
            status,
            error: None,
            answer: String::new(),
        };
        self.store
            .end_attempt(
                delivery,
                attempt,
                outcome,
                Duration::from_secs(5 * DAY),
                now,
            )
            .await
            .unwrap();
    }

    async fn read(&self, id: &GreenpinId) -> Allocation {
        self.tenant.allocation(id).await.unwrap().unwrap()
    }

    async fn event_types(&self) -> Vec<String> {
        self.events()
            .await
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn events(&self) -> Vec<serde_json::Value> {
        let events = self.tenant.events_after(None, 1000).await.unwrap();
        events
            .iter()
            .map(|event| serde_json::from_str(&event.body).unwrap())
            .collect()
    }
}

fn wanted(vn: &str) -> NewAllocation {
    NewAllocation {
        virtual_number: number(vn),
        from: vec![number(AGENT)],
        to: vec![number(CUSTOMER)],
        duration: Duration::from_secs(600),
        max_pin_attempts: 3,
        record: false,
        custom_field: Some("order_id=1".into()),
    }
}

/// Returns another PIN of the same length.
fn wrong(pin: &Pin) -> String {
    let last = if pin.expose().ends_with('0') {
        '1'
    } else {
        '0'
    };
    let mut digits = pin.expose().to_owned();
    digits.pop();
    digits.push(last);
    digits
}

fn ending(at: Timestamp) -> CallEnding {
    CallEnding {
        ended_at: at,
        answered_at: None,
        dialled: None,
        dialled_at: None,
        bridged_at: None,
        call_type: CallType::CallAttempt,
        dial_call_status: None,
        hangup_by: HangupBy::Caller,
        sip_cause: None,
        pin_attempts: 1,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
}

async fn concurrent_creates(
    bench: &Bench,
    vn: &'static str,
    count: usize,
    seconds: u64,
) -> Vec<Result<Allocation, CreateError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (tenant, now) = (bench.tenant.clone(), bench.at(seconds));
        tasks.spawn(async move { tenant.create_allocation(wanted(vn), now).await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_hundred_creates_gets_an_exclusive_number() {
    let bench = Bench::new().await;
    let results = concurrent_creates(&bench, EXCLUSIVE, 200, 0).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let busy = |result: &&Result<_, _>| matches!(result, Err(CreateError::VirtualNumberBusy));
    assert_eq!(results.iter().filter(busy).count(), 199);
    assert_eq!(bench.event_types().await, ["allocation.created"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_number_repeats_no_pin_and_keeps_its_limit() {
    let bench = Bench::new().await;
    let results = concurrent_creates(&bench, SHARED, 230, 0).await;
    let pins: Vec<_> = results
        .iter()
        .flatten()
        .map(|made| made.pin.clone())
        .collect();
    assert_eq!(pins.len(), 200);
    assert_eq!(pins.iter().collect::<HashSet<_>>().len(), 200);
    assert_eq!(
        bench.create(SHARED, 599).await,
        Err(CreateError::PinSpaceExhausted)
    );
    bench
        .create(SHARED, 600)
        .await
        .expect("all two hundred have ended by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creates_deletes_and_rotations_on_two_stores_keep_the_count_of_a_number_exact() {
    let bench = Bench::new().await;
    let other = Store::open(&bench.options).unwrap();
    let mut left = Vec::new();
    for round in 0..4 {
        let mut racing = tokio::task::JoinSet::new();
        for (index, made) in std::mem::take(&mut left).into_iter().enumerate() {
            let (tenant, now, made): (_, _, Allocation) =
                (bench.tenant.clone(), bench.at(round), made);
            racing.spawn(async move {
                if index % 2 == 0 {
                    tenant
                        .delete_allocation(&made.greenpin_id, now)
                        .await
                        .unwrap();
                    return None;
                }
                Some(tenant.rotate_pin(&made.greenpin_id, now).await.unwrap())
            });
        }
        for index in 0..60 {
            let store = if index % 3 == 0 { &other } else { &bench.store };
            let (tenant, now) = (
                store.tenant(bench.tenant.tenant_id().clone()),
                bench.at(round),
            );
            racing.spawn(async move {
                Some(tenant.create_allocation(wanted(SHARED), now).await.unwrap())
            });
        }
        left = racing.join_all().await.into_iter().flatten().collect();
        let pins: HashSet<_> = left.iter().map(|made| made.pin.clone()).collect();
        assert_eq!(pins.len(), left.len());
        let capacities = bench.tenant.capacities(bench.at(round)).await.unwrap();
        let shared = capacities
            .iter()
            .find(|capacity| capacity.number.virtual_number == number(SHARED))
            .unwrap();
        assert_eq!(shared.number.active as usize, left.len(), "round {round}");
    }
    let more = concurrent_creates(&bench, SHARED, 200, 5).await;
    assert_eq!(
        more.iter().filter(|made| made.is_ok()).count(),
        200 - left.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_write_is_visible_during_continuous_reads() {
    let bench = Bench::new().await;
    let first = bench.create(OPEN, 0).await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (tenant, id, stopped) = (
        bench.tenant.clone(),
        first.greenpin_id.clone(),
        stop.clone(),
    );
    let reading = tokio::spawn(async move {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            assert!(tenant.allocation(&id).await.unwrap().is_some());
            tokio::task::yield_now().await;
        }
    });
    let other = Store::open(&bench.options).unwrap();
    for round in 1..100 {
        let made = bench.create(OPEN, round).await.unwrap();
        assert_eq!(bench.read(&made.greenpin_id).await, made);
        other
            .tenant(bench.tenant.tenant_id().clone())
            .delete_allocation(&made.greenpin_id, bench.at(round))
            .await
            .unwrap();
        // A write of another process becomes visible after a moment.
        while bench.read(&made.greenpin_id).await.deleted_at.is_none() {}
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    reading.await.unwrap();
}

#[tokio::test]
async fn an_exclusive_number_is_free_in_the_second_its_allocation_ends() {
    let bench = Bench::new().await;
    let first = bench.create(EXCLUSIVE, 0).await.unwrap();
    assert_eq!(
        bench.create(EXCLUSIVE, 599).await,
        Err(CreateError::VirtualNumberBusy)
    );
    let (sid, route) = bench.call(EXCLUSIVE, Some(CUSTOMER), 599).await;
    assert!(matches!(route, Route::Collect(_)));
    assert_eq!(
        bench.attempt_pin(&sid, first.pin.expose(), 600).await,
        Verdict::Refused
    );
    assert_eq!(
        bench.call(EXCLUSIVE, Some(CUSTOMER), 600).await.1,
        Route::NotInUse
    );
    assert_eq!(first.status(bench.at(600)), Status::Expired);
    bench.create(EXCLUSIVE, 600).await.unwrap();
}

#[tokio::test]
async fn a_deleted_allocation_frees_an_exclusive_number_at_once() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(1))
        .await
        .unwrap();
    let next = bench.create(EXCLUSIVE, 1).await.unwrap();
    assert_ne!(next.pin, made.pin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pin_repeats_within_its_cool_off_and_each_is_drawn_before_the_space_is_exhausted() {
    let bench = Bench::new().await;
    bench
        .tenant
        .update_settings(|settings| settings.pin_cooloff = 100, None, bench.start)
        .await
        .unwrap();
    bench.share_wide(4, 5000).await;
    let mut pins = HashSet::new();
    // All but the 30 trivial PINs.
    for (round, count) in [(0, 5000), (1, 4970)] {
        let mut deletes = tokio::task::JoinSet::new();
        for made in concurrent_creates(&bench, WIDE, count, round * 10).await {
            let (made, tenant, now) = (
                made.unwrap(),
                bench.tenant.clone(),
                bench.at(round * 10 + 1),
            );
            assert!(
                pins.insert(made.pin.clone()),
                "a PIN came twice within its cool-off"
            );
            deletes.spawn(async move {
                tenant
                    .delete_allocation(&made.greenpin_id, now)
                    .await
                    .unwrap()
            });
        }
        deletes.join_all().await;
    }
    assert_eq!(
        bench.create(WIDE, 100).await,
        Err(CreateError::PinSpaceExhausted)
    );
    bench
        .create(WIDE, 101)
        .await
        .expect("the first round's cool-off is over, and the failed create held nothing");
}

#[tokio::test]
async fn a_delete_distinguishes_missing_and_deleted_allocations() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let id = &made.greenpin_id;
    let foreign = bench.store.tenant(TenantId::parse("other").unwrap());
    assert_eq!(
        foreign.delete_allocation(id, bench.at(1)).await,
        Err(DeleteError::NotFound)
    );
    assert_eq!(foreign.allocation(id).await.unwrap(), None);
    assert_eq!(
        bench.tenant.delete_allocation(id, bench.at(1)).await,
        Ok(bench.at(1))
    );
    assert_eq!(
        bench.tenant.delete_allocation(id, bench.at(2)).await,
        Err(DeleteError::AlreadyDeleted)
    );
    assert_eq!(
        bench.event_types().await,
        ["allocation.created", "allocation.deleted"]
    );
}

#[tokio::test]
async fn a_call_has_one_record_and_one_terminal_event_after_repeated_ends() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench.attempt_pin(&sid, made.pin.expose(), 2).await;
    bench.ring_and_answer(&sid, 3, 5).await;
    let deleted = bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(6));
    deleted.await.unwrap();
    let recording = RecordingFile {
        location: "a.wav".into(),
        duration: Duration::from_secs(20),
    };
    let ending = CallEnding {
        dialled: Some(number(AGENT)),
        dialled_at: Some(bench.at(3)),
        bridged_at: Some(bench.at(5)),
        call_type: CallType::Completed,
        dial_call_status: Some(DialStatus::Completed),
        recording: Some(recording.clone()),
        ..ending(bench.at(25))
    };
    for _ in 0..2 {
        bench.store.end_call(&sid, ending.clone()).await.unwrap();
    }
    let expected = [
        "allocation.created",
        "call.initiated",
        "call.pin_accepted",
        "call.ringing",
        "call.answered",
        "allocation.deleted",
        "call.completed",
        "recording.ready",
    ];
    assert_eq!(bench.event_types().await, expected);
    let events = bench.events().await;
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7, 8]);
    let data = &events[6]["data"];
    assert_eq!(
        (&data["on_call_duration"], &data["dial_call_duration"]),
        (&20.into(), &22.into())
    );
    assert_eq!(data["call_type"], "completed");
    let record = bench.tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!(
        (record.dialled, record.recording),
        (Some(number(AGENT)), Some(recording))
    );
    assert_eq!(bench.read(&made.greenpin_id).await.call_count, 1);
    let calls = bench
        .tenant
        .calls_of_allocation(&made.greenpin_id, None, 10);
    assert_eq!(calls.await.unwrap().len(), 1);
}

#[tokio::test]
async fn open_calls_of_a_crashed_node_are_closed_at_its_next_start() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (open, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let (closed, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench
        .store
        .end_call(&closed, ending(bench.at(2)))
        .await
        .unwrap();
    assert_eq!(bench.store.join("node-2", bench.at(9)).await.unwrap().1, 0);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 1);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 0);
    let record = bench.tenant.call(&open).await.unwrap().unwrap();
    assert_eq!(
        (record.ended_at, record.hangup_by),
        (Some(bench.at(9)), Some(HangupBy::System))
    );
    let types = bench.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "call.completed")
            .count(),
        2
    );
}

#[tokio::test]
async fn an_expired_allocation_is_reported_once() {
    let bench = Bench::new().await;
    bench.create(SHARED, 0).await.unwrap();
    assert_eq!(bench.store.report_expired(bench.at(599)).await.unwrap(), 0);
    assert_eq!(bench.store.report_expired(bench.at(600)).await.unwrap(), 1);
    assert_eq!(bench.store.report_expired(bench.at(601)).await.unwrap(), 0);
    assert_eq!(
        bench.event_types().await,
        ["allocation.created", "allocation.expired"]
    );
}

#[tokio::test]
async fn deliveries_of_an_allocation_are_sent_in_order() {
    let bench = Bench::new().await;
    let spec = EndpointSpec::to("https://hook.example/");
    let made = bench
        .tenant
        .update_settings(|_| (), Some(vec![spec]), bench.start)
        .await
        .unwrap();
    assert!(made[0].1.starts_with("whsec_"));
    let allocation = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .delete_allocation(&allocation.greenpin_id, bench.at(1))
        .await
        .unwrap();
    let lease = Duration::from_secs(30);
    let claim = |seconds| bench.claim(lease, bench.at(seconds));
    let first = claim(2).await.unwrap();
    assert_eq!(first.len(), 1);
    assert!(first[0].body.contains("allocation.created"));
    assert!(claim(3).await.unwrap().is_empty());
    assert_eq!(
        claim(32).await.unwrap()[0].attempts,
        2,
        "a lease that ran out gives the delivery back"
    );
    bench
        .end(&first[0], AttemptOutcome::Delivered, bench.at(33))
        .await;
    let second = claim(33).await.unwrap();
    assert!(second[0].body.contains("allocation.deleted"));
    bench
        .end(
            &second[0],
            AttemptOutcome::RetryAt(bench.at(50)),
            bench.at(34),
        )
        .await;
    assert_eq!(
        bench.store.due_endpoints().await.unwrap()[0].due_at,
        bench.at(50)
    );
    bench
        .tenant
        .update_settings(|_| (), Some(Vec::new()), bench.at(50))
        .await
        .unwrap();
    assert!(
        claim(51).await.unwrap().is_empty(),
        "nothing is owed to an endpoint that was taken away"
    );
    assert!(bench.store.due_endpoints().await.unwrap().is_empty());
}

#[tokio::test]
async fn events_for_a_paused_endpoint_wait() {
    let bench = Bench::new().await;
    let spec = |paused| EndpointSpec {
        paused,
        ..EndpointSpec::to("https://hook.example/")
    };
    let set = |paused| {
        bench
            .tenant
            .update_settings(|_| (), Some(vec![spec(paused)]), bench.start)
    };
    set(true).await.unwrap();
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let claim = || bench.claim(Duration::from_secs(30), bench.at(1));
    assert!(claim().await.unwrap().is_empty());
    assert!(bench.store.due_endpoints().await.unwrap().is_empty());
    set(false).await.unwrap();
    assert_eq!(claim().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_endpoint_gets_only_its_subscribed_types() {
    let bench = Bench::new().await;
    let types = Some(vec!["allocation.deleted".to_owned()]);
    let spec = EndpointSpec {
        types,
        ..EndpointSpec::to("https://hook.example/")
    };
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec]), bench.start)
        .await
        .unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(1))
        .await
        .unwrap();
    let claimed = bench
        .claim(Duration::from_secs(30), bench.at(1))
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].body.contains("allocation.deleted"));
}

#[tokio::test]
async fn written_data_is_present_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tenant_id = TenantId::parse("acme").unwrap();
    let now = Timestamp::from_micros(1_781_499_600_000_000);
    let new = NewTenant {
        tenant_id: tenant_id.clone(),
        account_sid: "AC1".into(),
        token: None,
        settings: TenantSettings::default(),
        webhooks: Vec::new(),
    };
    let options = options(&folder);
    let store = Store::open(&options).unwrap();
    let Ok(made) = store.create_tenant(new, now).await else {
        panic!("the store is empty")
    };
    drop(store);
    let again = Store::open(&options).unwrap();
    let found = again.authenticate("AC1", &made.token, now).await.unwrap();
    assert_eq!(found.map(|found| found.tenant_id), Some(tenant_id));
}

#[tokio::test]
async fn credentials_are_valid_for_their_own_tenant_only() {
    let bench = Bench::new().await;
    let whose =
        |sid: &'static str, token: &'static str| bench.store.authenticate(sid, token, bench.start);
    let found = whose("AC1", "secret").await.unwrap();
    assert_eq!(found.map(|found| found.tenant_id), TenantId::parse("acme"));
    assert_eq!(whose("AC1", "Secret").await.unwrap(), None);
    assert_eq!(whose("AC2", "secret").await.unwrap(), None);
}

#[tokio::test]
async fn no_event_contains_a_pin() {
    let bench = Bench::new().await;
    let made = bench.create(OPEN, 0).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 1).await;
    bench.attempt_pin(&sid, &wrong(&made.pin), 2).await;
    bench.attempt_pin(&sid, made.pin.expose(), 2).await;
    for event in bench.tenant.events_after(None, 100).await.unwrap() {
        assert!(!event.body.contains(made.pin.expose()) && !event.body.contains(&wrong(&made.pin)));
    }
}

#[tokio::test]
async fn a_redelivery_applies_to_an_event_that_is_being_sent() {
    let bench = Bench::new().await;
    let spec = EndpointSpec::to("https://hook.example/");
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec]), bench.start)
        .await
        .unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(1))
        .await
        .unwrap();
    let claim = |seconds| bench.claim(Duration::from_secs(30), bench.at(seconds));
    let first = claim(2).await.unwrap().remove(0);
    assert_eq!(
        bench
            .tenant
            .redeliver(&first.event_id, bench.at(3))
            .await
            .unwrap(),
        Some(1)
    );
    bench
        .end(&first, AttemptOutcome::Delivered, bench.at(4))
        .await;
    let again = claim(4).await.unwrap();
    assert_eq!(
        (again.len(), &again[0].event_id, again[0].attempts),
        (1, &first.event_id, 1)
    );
    bench
        .end(&again[0], AttemptOutcome::Delivered, bench.at(5))
        .await;
    let second = claim(5).await.unwrap().remove(0);
    assert!(second.body.contains("allocation.deleted"));
    bench
        .tenant
        .redeliver(&first.event_id, bench.at(6))
        .await
        .unwrap();
    assert!(
        claim(7).await.unwrap().is_empty(),
        "events of one allocation go one after the other"
    );
    bench
        .end(&second, AttemptOutcome::Failed, bench.at(8))
        .await;
    assert_eq!(claim(8).await.unwrap()[0].event_id, first.event_id);
}

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn no_number_pin_secret_or_token_is_in_the_database_in_clear() {
    let bench = Bench::new().await;
    let endpoint = EndpointSpec::to("https://hooks.example/a");
    let made = bench
        .tenant
        .update_settings(|_| {}, Some(vec![endpoint]), bench.start)
        .await
        .unwrap();
    bench.share_wide(8, 10).await;
    let allocation = bench.create(WIDE, 0).await.unwrap();
    let (sid, _) = bench.call(WIDE, Some(STRANGER), 1).await;
    bench.attempt_pin(&sid, &wrong(&allocation.pin), 2).await;
    bench.attempt_pin(&sid, allocation.pin.expose(), 3).await;
    bench.ring_and_answer(&sid, 4, 5).await;
    let ended = CallEnding {
        dialled: Some(number(AGENT)),
        ..ending(bench.at(6))
    };
    bench.store.end_call(&sid, ended).await.unwrap();
    let change = AllocationChange {
        to: Some(vec![number(STRANGER)]),
        ..AllocationChange::default()
    };
    bench
        .tenant
        .change_allocation(&allocation.greenpin_id, change, bench.at(7))
        .await
        .unwrap();
    let rotated = bench
        .tenant
        .rotate_pin(&allocation.greenpin_id, bench.at(8))
        .await
        .unwrap();
    let other = bench.store.create_tenant(other_tenant(), bench.start);
    let Ok(other) = other.await else {
        panic!("its name is free")
    };
    let kept = raw(&bench.options.database);
    let holds = |text: &str| {
        kept.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        holds(allocation.greenpin_id.as_str()),
        "what is read is the database"
    );
    let numbers =
        [WIDE, AGENT, CUSTOMER, STRANGER, EXCLUSIVE].map(|number| number.trim_start_matches('+'));
    let pins = [allocation.pin.expose(), rotated.pin.expose()];
    let secret = made[0].1.trim_start_matches("whsec_");
    for text in numbers
        .into_iter()
        .chain(pins)
        .chain([secret, &other.token])
    {
        assert!(
            !holds(text),
            "the database holds {} characters that it must not",
            text.len()
        );
    }
}
