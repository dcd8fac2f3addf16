//! Rules of the store on real databases, at times chosen by the tests.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use call::{PhoneNumber, Pin};
use tempfile::TempDir;

use super::super::*;
use super::postgres;
use crate::numbering::{TrunkCaller, TrunkNumber};

mod calls;
mod changes;
mod concurrency;
mod deliveries;
mod faults;
mod guess_simulation;
mod idempotency;
mod inspection;
mod keys;
mod lists;
mod operators;
mod pin_attempts;
mod pins;
mod recordings;
mod resolution;
mod retention;
mod round_trips;
mod shards;
mod store_move;

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
    /// Keys of the calls, as the call loop keeps them.
    keys: Mutex<HashMap<CallSid, Arc<CallKeys>>>,
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
        Self::open(options(&folder), folder).await
    }

    async fn open(options: StoreOptions, folder: TempDir) -> Self {
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
            keys: Mutex::default(),
            _folder: folder,
        }
    }

    fn at(&self, seconds: u64) -> Timestamp {
        self.start + Duration::from_secs(seconds)
    }

    /// Joins a node. Returns the number of calls that its previous process left open.
    async fn join(&self, node: &str, seconds: u64) -> usize {
        self.join_as(node, seconds).await.1
    }

    async fn join_as(&self, node: &str, seconds: u64) -> (Membership, usize) {
        let identity = NodeIdentity {
            name: node.to_owned(),
            lease: Duration::from_secs(15),
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.at(seconds),
        };
        let joined = self.store.join(identity, self.at(seconds)).await;
        joined.unwrap()
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
        let caller = caller.map(number).into();
        self.call_from(vn, caller, seconds).await
    }

    async fn call_from(&self, vn: &str, caller: TrunkCaller, seconds: u64) -> (CallSid, Route) {
        let started_at = self.at(seconds);
        let call_sid = CallSid::new(started_at);
        let call = NewCall {
            call_sid: call_sid.clone(),
            virtual_number: number(vn),
            caller,
            trunk: "carrier".into(),
            node: "node-1".into(),
            started_at,
        };
        let routed = self.store.begin_call(call).await.unwrap();
        if let Some(keys) = routed.keys {
            self.keys.lock().unwrap().insert(call_sid.clone(), keys);
        }
        (call_sid, routed.route)
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
        let keys = self.keys.lock().unwrap().get(sid).cloned();
        let (digits, now) = (Pin::parse(digits).unwrap(), self.at(seconds));
        let attempt = self.store.attempt_pin(sid, keys.as_deref(), &digits, now);
        attempt.await.unwrap()
    }

    /// Claims every due delivery.
    async fn claim(&self, lease: Duration, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let due = self.store.due_endpoints().await?;
        let wanted = due.into_iter().map(|endpoint| (endpoint, 10)).collect();
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

/// Answer with a body.
fn answer(body: &str) -> StoredAnswer {
    StoredAnswer {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
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
        cause: CallCause::Completed,
        legs: CallLegs::default(),
        dial_call_status: None,
        hangup_by: HangupBy::Caller,
        sip_cause: None,
        pin_attempts: 1,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
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
