//! The store's rules, on real databases, at moments that the tests choose.

use std::collections::HashSet;
use std::time::Duration;

use call::{PhoneNumber, Pin};
use tempfile::TempDir;

use super::super::*;
use super::postgres;

mod crowd;
mod operators;
mod recordings;

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const OPEN: &str = "+914000000003";
const WIDE: &str = "+914000000004";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";
const STRANGER: &str = "+917700000001";

/// Everything that the database keeps, as it keeps it.
fn raw(database: &Database) -> Vec<u8> {
    match database {
        Database::File(path) => {
            let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
            files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
        }
        Database::Server(server) => postgres::dump(server.get_dbname().unwrap()),
    }
}

/// A store with one tenant, an exclusive number, a shared one with four digits, and a shared one with six.
struct Bench {
    store: Store,
    tenant: TenantStore,
    start: Timestamp,
    options: StoreOptions,
    _folder: TempDir,
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

/// On which database this copy of the suite runs.
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
        store.create_tenant(new, start).await.map_err(|error| error.to_string()).unwrap();
        for (text, mode, pin_length) in [
            (EXCLUSIVE, NumberMode::Exclusive, 4),
            (SHARED, NumberMode::Shared, 4),
            (OPEN, NumberMode::Shared, 6),
        ] {
            let new = NewNumber { virtual_number: number(text), mode, pin_length, max_active: 200 };
            store.add_number(tenant_id.clone(), new, start).await.unwrap();
        }
        Self { tenant: store.tenant(tenant_id), store, start, options, _folder: folder }
    }

    fn at(&self, seconds: u64) -> Timestamp {
        self.start + Duration::from_secs(seconds)
    }

    async fn create(&self, vn: &str, seconds: u64) -> Result<Allocation, CreateError> {
        self.tenant.create_allocation(wanted(vn), self.at(seconds)).await
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

    async fn try_pin(&self, sid: &CallSid, digits: &str, seconds: u64) -> PinVerdict {
        self.store.try_pin(sid, &Pin::parse(digits).unwrap(), self.at(seconds)).await.unwrap()
    }

    /// Every delivery that can go at a moment.
    async fn claim(&self, lease: Duration, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let due = self.store.due_endpoints().await?;
        let wanted = due.into_iter().map(|one| (one.endpoint_id, 10)).collect();
        self.store.claim_deliveries("node-1", wanted, lease, now).await
    }

    async fn end(&self, delivery: &Delivery, outcome: Outcome, now: Timestamp) {
        let (latency, status) = (Duration::from_millis(7), Some(200));
        let attempt = Attempt { begun_at: now, latency, status, error: None, answer: String::new() };
        self.store.end_attempt(delivery, attempt, outcome, Duration::from_secs(5 * DAY), now).await.unwrap();
    }

    async fn read(&self, id: &GreenpinId) -> Allocation {
        self.tenant.allocation(id).await.unwrap().unwrap()
    }

    async fn event_types(&self) -> Vec<String> {
        self.events().await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    async fn events(&self) -> Vec<serde_json::Value> {
        let events = self.tenant.events_after(None, 1000).await.unwrap();
        events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect()
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

/// A PIN of the same length that is not this one.
fn wrong(pin: &Pin) -> String {
    let last = if pin.expose().ends_with('0') { '1' } else { '0' };
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
async fn a_shared_number_gives_no_pin_twice_and_keeps_to_its_limit() {
    let bench = Bench::new().await;
    let results = concurrent_creates(&bench, SHARED, 230, 0).await;
    let pins: Vec<_> = results.iter().flatten().map(|made| made.pin.clone()).collect();
    assert_eq!(pins.len(), 200);
    assert_eq!(pins.iter().collect::<HashSet<_>>().len(), 200);
    assert_eq!(bench.create(SHARED, 599).await, Err(CreateError::PinSpaceExhausted));
    bench.create(SHARED, 600).await.expect("all two hundred have ended by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_deletes_and_rotations_that_race_on_two_stores_leave_a_numbers_count_exact() {
    let bench = Bench::new().await;
    let other = Store::open(&bench.options).unwrap();
    let mut left = Vec::new();
    for round in 0..4 {
        let mut racing = tokio::task::JoinSet::new();
        for (index, made) in std::mem::take(&mut left).into_iter().enumerate() {
            let (tenant, now, made): (_, _, Allocation) = (bench.tenant.clone(), bench.at(round), made);
            racing.spawn(async move {
                if index % 2 == 0 {
                    tenant.delete_allocation(&made.greenpin_id, now).await.unwrap();
                    return None;
                }
                Some(tenant.rotate_pin(&made.greenpin_id, now).await.unwrap())
            });
        }
        for index in 0..60 {
            let store = if index % 3 == 0 { &other } else { &bench.store };
            let (tenant, now) = (store.tenant(bench.tenant.tenant_id().clone()), bench.at(round));
            racing.spawn(async move { Some(tenant.create_allocation(wanted(SHARED), now).await.unwrap()) });
        }
        left = racing.join_all().await.into_iter().flatten().collect();
        let pins: HashSet<_> = left.iter().map(|made| made.pin.clone()).collect();
        assert_eq!(pins.len(), left.len());
        let capacities = bench.tenant.capacities(bench.at(round)).await.unwrap();
        let shared = capacities.iter().find(|one| one.number.virtual_number == number(SHARED)).unwrap();
        assert_eq!(shared.number.active as usize, left.len(), "round {round}");
    }
    let more = concurrent_creates(&bench, SHARED, 200, 5).await;
    assert_eq!(more.iter().filter(|made| made.is_ok()).count(), 200 - left.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_of_a_write_reads_it_while_others_read_without_a_pause() {
    let bench = Bench::new().await;
    let first = bench.create(OPEN, 0).await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (tenant, id, stopped) = (bench.tenant.clone(), first.greenpin_id.clone(), stop.clone());
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
        // Another process's write is seen a moment later.
        while bench.read(&made.greenpin_id).await.deleted_at.is_none() {}
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    reading.await.unwrap();
}

#[tokio::test]
async fn an_exclusive_number_is_free_the_second_its_allocation_ends() {
    let bench = Bench::new().await;
    let first = bench.create(EXCLUSIVE, 0).await.unwrap();
    assert_eq!(bench.create(EXCLUSIVE, 599).await, Err(CreateError::VirtualNumberBusy));
    let (sid, route) = bench.call(EXCLUSIVE, Some(CUSTOMER), 599).await;
    assert!(matches!(route, Route::Collect(_)));
    assert_eq!(bench.try_pin(&sid, first.pin.expose(), 600).await, PinVerdict::Refused);
    assert_eq!(bench.call(EXCLUSIVE, Some(CUSTOMER), 600).await.1, Route::NotInUse);
    assert_eq!(first.status(bench.at(600)), Status::Expired);
    bench.create(EXCLUSIVE, 600).await.unwrap();
}

#[tokio::test]
async fn a_deleted_allocation_frees_an_exclusive_number_at_once() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.delete_allocation(&made.greenpin_id, bench.at(1)).await.unwrap();
    let next = bench.create(EXCLUSIVE, 1).await.unwrap();
    assert_ne!(next.pin, made.pin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pin_comes_again_within_its_cool_off_and_each_one_comes_before_the_space_is_exhausted() {
    let bench = Bench::new().await;
    bench.tenant.update_settings(|settings| settings.pin_cooloff = 100, None, bench.start).await.unwrap();
    let wide =
        NewNumber { virtual_number: number(WIDE), mode: NumberMode::Shared, pin_length: 4, max_active: 5000 };
    bench.store.add_number(bench.tenant.tenant_id().clone(), wide, bench.start).await.unwrap();
    let mut pins = HashSet::new();
    // All but the 30 trivial ones.
    for (round, count) in [(0, 5000), (1, 4970)] {
        let mut deletes = tokio::task::JoinSet::new();
        for made in concurrent_creates(&bench, WIDE, count, round * 10).await {
            let (made, tenant, now) = (made.unwrap(), bench.tenant.clone(), bench.at(round * 10 + 1));
            assert!(pins.insert(made.pin.clone()), "a PIN came twice within its cool-off");
            deletes.spawn(async move { tenant.delete_allocation(&made.greenpin_id, now).await.unwrap() });
        }
        deletes.join_all().await;
    }
    assert_eq!(bench.create(WIDE, 100).await, Err(CreateError::PinSpaceExhausted));
    bench
        .create(WIDE, 101)
        .await
        .expect("the first round's cool-off is over, and the failed create held nothing");
}

#[tokio::test]
async fn delete_answers_what_was_there() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let id = &made.greenpin_id;
    let foreign = bench.store.tenant(TenantId::parse("other").unwrap());
    assert_eq!(foreign.delete_allocation(id, bench.at(1)).await, Err(DeleteError::NotFound));
    assert_eq!(foreign.allocation(id).await.unwrap(), None);
    assert_eq!(bench.tenant.delete_allocation(id, bench.at(1)).await, Ok(bench.at(1)));
    assert_eq!(bench.tenant.delete_allocation(id, bench.at(2)).await, Err(DeleteError::AlreadyDeleted));
    assert_eq!(bench.event_types().await, ["allocation.created", "allocation.deleted"]);
}

#[tokio::test]
async fn a_right_pin_gives_its_try_back_and_tells_whom_to_dial() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, route) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let Route::Collect(collect) = route else { panic!("the number is in use") };
    assert_eq!((collect.pin_length, collect.max_tries), (4, 3));
    assert_eq!(bench.try_pin(&sid, &wrong(&made.pin), 2).await, PinVerdict::Refused);
    let PinVerdict::Accepted(connection) = bench.try_pin(&sid, made.pin.expose(), 3).await else {
        panic!("the PIN is right")
    };
    assert_eq!(connection.dial, [number(AGENT)]);
    let read = bench.read(&made.greenpin_id).await;
    assert_eq!((read.failed_pin_attempts, read.attempt_count, read.call_count), (1, 1, 0));
    let (back, _) = bench.call(EXCLUSIVE, Some(AGENT), 4).await;
    let PinVerdict::Accepted(connection) = bench.try_pin(&back, made.pin.expose(), 5).await else {
        panic!("the PIN is right")
    };
    assert_eq!(connection.dial, [number(CUSTOMER)]);
}

#[tokio::test]
async fn at_the_limit_no_pin_opens_and_the_tenant_hears_once() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        assert_eq!(bench.try_pin(&sid, &wrong(&made.pin), 2).await, PinVerdict::Refused);
    }
    for _ in 0..2 {
        assert_eq!(bench.try_pin(&sid, made.pin.expose(), 3).await, PinVerdict::Refused);
    }
    let read = bench.read(&made.greenpin_id).await;
    assert!(read.is_locked());
    assert_eq!(read.failed_pin_attempts, 3);
    let types = bench.event_types().await;
    assert_eq!(types.iter().filter(|name| *name == "allocation.locked").count(), 1);
    assert_eq!(types.iter().filter(|name| *name == "call.pin_failed").count(), 5);
}

#[tokio::test]
async fn on_a_shared_number_a_listed_callers_tries_count_against_each_of_its_allocations() {
    let bench = Bench::new().await;
    let one = bench.create(SHARED, 0).await.unwrap();
    let two = bench.create(SHARED, 0).await.unwrap();
    let (sid, _) = bench.call(SHARED, Some(CUSTOMER), 1).await;
    let mut neither = (0..10_000).map(|value| format!("{value:04}"));
    let neither = neither.find(|pin| pin != one.pin.expose() && pin != two.pin.expose()).unwrap();
    bench.try_pin(&sid, &neither, 2).await;
    let counts = |one: Allocation, two: Allocation| (one.failed_pin_attempts, two.failed_pin_attempts);
    assert_eq!(counts(bench.read(&one.greenpin_id).await, bench.read(&two.greenpin_id).await), (1, 1));
    assert!(matches!(bench.try_pin(&sid, two.pin.expose(), 3).await, PinVerdict::Accepted(_)));
    assert_eq!(counts(bench.read(&one.greenpin_id).await, bench.read(&two.greenpin_id).await), (1, 1));
    assert_eq!(bench.read(&two.greenpin_id).await.attempt_count, 1);
}

#[tokio::test]
async fn short_shared_pins_open_for_listed_callers_only_and_long_ones_for_anyone() {
    let bench = Bench::new().await;
    let short = bench.create(SHARED, 0).await.unwrap();
    let long = bench.create(OPEN, 0).await.unwrap();
    for caller in [Some(STRANGER), None] {
        let (sid, _) = bench.call(SHARED, caller, 1).await;
        assert_eq!(bench.try_pin(&sid, short.pin.expose(), 2).await, PinVerdict::Refused);
        let (sid, _) = bench.call(OPEN, caller, 1).await;
        assert!(matches!(bench.try_pin(&sid, long.pin.expose(), 2).await, PinVerdict::Accepted(_)));
    }
    let only_listed = |settings: &mut TenantSettings| settings.caller_policy = CallerPolicy::Listed;
    bench.tenant.update_settings(only_listed, None, bench.start).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 3).await;
    assert_eq!(bench.try_pin(&sid, long.pin.expose(), 4).await, PinVerdict::Refused);
}

#[tokio::test]
async fn five_wrong_tries_refuse_a_stranger_for_a_quarter_of_an_hour_then_for_twice_as_long() {
    let bench = Bench::new().await;
    let new = NewAllocation { duration: Duration::from_secs(90_000), ..wanted(OPEN) };
    let made = bench.tenant.create_allocation(new, bench.start).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 0).await;
    for _ in 0..5 {
        bench.try_pin(&sid, &wrong(&made.pin), 0).await;
    }
    assert_eq!(bench.try_pin(&sid, made.pin.expose(), 899).await, PinVerdict::Refused);
    for _ in 0..5 {
        bench.try_pin(&sid, &wrong(&made.pin), 900).await;
    }
    assert_eq!(bench.try_pin(&sid, made.pin.expose(), 900 + 1799).await, PinVerdict::Refused);
    assert!(matches!(bench.try_pin(&sid, made.pin.expose(), 900 + 1800).await, PinVerdict::Accepted(_)));
}

#[tokio::test]
async fn twenty_wrong_tries_of_strangers_close_a_number_to_them_but_not_to_listed_callers() {
    let bench = Bench::new().await;
    let made = bench.create(OPEN, 0).await.unwrap();
    for caller in 0..21 {
        let (sid, _) = bench.call(OPEN, Some(&format!("+9177000001{caller:02}")), 1).await;
        bench.try_pin(&sid, &wrong(&made.pin), 1).await;
    }
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 2).await;
    assert_eq!(bench.try_pin(&sid, made.pin.expose(), 2).await, PinVerdict::Refused);
    let (sid, _) = bench.call(OPEN, Some(CUSTOMER), 2).await;
    assert!(matches!(bench.try_pin(&sid, made.pin.expose(), 2).await, PinVerdict::Accepted(_)));
    let types = bench.event_types().await;
    assert_eq!(types.iter().filter(|name| *name == "number.pin_attack").count(), 1);
    let later = bench.tenant.create_allocation(wanted(OPEN), bench.at(1801)).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 1802).await;
    assert!(matches!(bench.try_pin(&sid, later.pin.expose(), 1802).await, PinVerdict::Accepted(_)));
}

/// With two hundred open PINs of six digits, a day's 68 tries get in 0.014 times.
#[tokio::test]
async fn an_army_of_strangers_has_one_try_each_half_hour_once_the_first_twenty_are_spent() {
    let bench = Bench::new().await;
    let new = NewAllocation { duration: Duration::from_secs(90_000), ..wanted(OPEN) };
    let made = bench.tenant.create_allocation(new, bench.start).await.unwrap();
    let mut callers = (0..).map(|caller| format!("+91770000{caller:04}"));
    for _ in 0..20 {
        let (sid, _) = bench.call(OPEN, callers.next().as_deref(), 1).await;
        bench.try_pin(&sid, &wrong(&made.pin), 1).await;
    }
    for half_hour in 0..48 {
        let at = 2 + 1800 * half_hour;
        for digits in [wrong(&made.pin), made.pin.expose().to_owned()] {
            let (sid, _) = bench.call(OPEN, callers.next().as_deref(), at).await;
            assert_eq!(bench.try_pin(&sid, &digits, at).await, PinVerdict::Refused, "half hour {half_hour}");
        }
    }
    let (sid, _) = bench.call(OPEN, callers.next().as_deref(), 2 + 1800 * 48).await;
    let one_more = bench.try_pin(&sid, made.pin.expose(), 2 + 1800 * 48).await;
    assert!(matches!(one_more, PinVerdict::Accepted(_)));
}

#[tokio::test]
async fn a_call_has_one_record_and_one_terminal_event_however_often_it_ends() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench.try_pin(&sid, made.pin.expose(), 2).await;
    bench.store.call_ringing(&sid, number(AGENT), bench.at(3)).await.unwrap();
    bench.store.call_answered(&sid, number(AGENT), bench.at(5)).await.unwrap();
    bench.tenant.delete_allocation(&made.greenpin_id, bench.at(6)).await.unwrap();
    let recording = RecordingFile { location: "a.wav".into(), duration: Duration::from_secs(20) };
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
    let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7, 8]);
    let data = &events[6]["data"];
    assert_eq!((&data["on_call_duration"], &data["dial_call_duration"]), (&20.into(), &22.into()));
    assert_eq!(data["call_type"], "completed");
    let record = bench.tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!((record.dialled, record.recording), (Some(number(AGENT)), Some(recording)));
    assert_eq!(bench.read(&made.greenpin_id).await.call_count, 1);
    assert_eq!(bench.tenant.calls_of(&made.greenpin_id, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn calls_that_a_crash_left_open_are_closed_at_the_next_start() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (open, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let (closed, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench.store.end_call(&closed, ending(bench.at(2))).await.unwrap();
    assert_eq!(bench.store.join("node-2", bench.at(9)).await.unwrap().1, 0);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 1);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 0);
    let record = bench.tenant.call(&open).await.unwrap().unwrap();
    assert_eq!((record.ended_at, record.hangup_by.as_deref()), (Some(bench.at(9)), Some("system")));
    let types = bench.event_types().await;
    assert_eq!(types.iter().filter(|name| *name == "call.completed").count(), 2);
}

#[tokio::test]
async fn an_allocation_that_ended_is_told_of_once() {
    let bench = Bench::new().await;
    bench.create(SHARED, 0).await.unwrap();
    assert_eq!(bench.store.report_expired(bench.at(599)).await.unwrap(), 0);
    assert_eq!(bench.store.report_expired(bench.at(600)).await.unwrap(), 1);
    assert_eq!(bench.store.report_expired(bench.at(601)).await.unwrap(), 0);
    assert_eq!(bench.event_types().await, ["allocation.created", "allocation.expired"]);
}

#[tokio::test]
async fn deliveries_of_an_allocation_go_one_after_the_other() {
    let bench = Bench::new().await;
    let spec = EndpointSpec::to("https://hook.example/");
    let made = bench.tenant.update_settings(|_| (), Some(vec![spec]), bench.start).await.unwrap();
    assert!(made[0].1.starts_with("whsec_"));
    let allocation = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.delete_allocation(&allocation.greenpin_id, bench.at(1)).await.unwrap();
    let lease = Duration::from_secs(30);
    let claim = |seconds| bench.claim(lease, bench.at(seconds));
    let first = claim(2).await.unwrap();
    assert_eq!(first.len(), 1);
    assert!(first[0].body.contains("allocation.created"));
    assert!(claim(3).await.unwrap().is_empty());
    assert_eq!(claim(32).await.unwrap()[0].attempts, 2, "a lease that ran out gives the delivery back");
    bench.end(&first[0], Outcome::Delivered, bench.at(33)).await;
    let second = claim(33).await.unwrap();
    assert!(second[0].body.contains("allocation.deleted"));
    bench.end(&second[0], Outcome::Again(bench.at(50)), bench.at(34)).await;
    assert_eq!(bench.store.due_endpoints().await.unwrap()[0].due_at, bench.at(50));
    bench.tenant.update_settings(|_| (), Some(Vec::new()), bench.at(50)).await.unwrap();
    assert!(claim(51).await.unwrap().is_empty(), "nothing is owed to an endpoint that was taken away");
    assert!(bench.store.due_endpoints().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_paused_endpoint_is_owed_its_events_and_hears_nothing_meanwhile() {
    let bench = Bench::new().await;
    let spec = |paused| EndpointSpec { paused, ..EndpointSpec::to("https://hook.example/") };
    let set = |paused| bench.tenant.update_settings(|_| (), Some(vec![spec(paused)]), bench.start);
    set(true).await.unwrap();
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let claim = || bench.claim(Duration::from_secs(30), bench.at(1));
    assert!(claim().await.unwrap().is_empty());
    assert!(bench.store.due_endpoints().await.unwrap().is_empty());
    set(false).await.unwrap();
    assert_eq!(claim().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_endpoint_gets_only_the_types_that_it_asks_for() {
    let bench = Bench::new().await;
    let types = Some(vec!["allocation.deleted".to_owned()]);
    let spec = EndpointSpec { types, ..EndpointSpec::to("https://hook.example/") };
    bench.tenant.update_settings(|_| (), Some(vec![spec]), bench.start).await.unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.delete_allocation(&made.greenpin_id, bench.at(1)).await.unwrap();
    let claimed = bench.claim(Duration::from_secs(30), bench.at(1)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].body.contains("allocation.deleted"));
}

#[tokio::test]
async fn what_was_written_is_there_when_the_store_is_opened_again() {
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
    let Ok(made) = store.create_tenant(new, now).await else { panic!("the store is empty") };
    drop(store);
    let again = Store::open(&options).unwrap();
    let found = again.authenticate("AC1", &made.token, now).await.unwrap();
    assert_eq!(found.map(|found| found.tenant_id), Some(tenant_id));
}

#[tokio::test]
async fn credentials_open_their_own_tenant_only() {
    let bench = Bench::new().await;
    let whose = |sid: &'static str, token: &'static str| bench.store.authenticate(sid, token, bench.start);
    let found = whose("AC1", "secret").await.unwrap();
    assert_eq!(found.map(|found| found.tenant_id), TenantId::parse("acme"));
    assert_eq!(whose("AC1", "Secret").await.unwrap(), None);
    assert_eq!(whose("AC2", "secret").await.unwrap(), None);
}

#[tokio::test]
async fn no_digit_of_a_pin_is_in_any_event() {
    let bench = Bench::new().await;
    let made = bench.create(OPEN, 0).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 1).await;
    bench.try_pin(&sid, &wrong(&made.pin), 2).await;
    bench.try_pin(&sid, made.pin.expose(), 2).await;
    for event in bench.tenant.events_after(None, 100).await.unwrap() {
        assert!(!event.body.contains(made.pin.expose()) && !event.body.contains(&wrong(&made.pin)));
    }
}

#[tokio::test]
async fn an_allocation_that_is_prolonged_keeps_its_number_its_pin_and_its_callers() {
    let bench = Bench::new().await;
    let longer = AllocationChange {
        duration: Some(Duration::from_secs(3600)),
        to: Some(vec![number(STRANGER)]),
        ..AllocationChange::default()
    };
    let held = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.change_allocation(&held.greenpin_id, longer.clone(), bench.at(500)).await.unwrap();
    assert_eq!(bench.create(EXCLUSIVE, 4099).await, Err(CreateError::VirtualNumberBusy));
    let shared = bench.create(SHARED, 0).await.unwrap();
    bench.tenant.change_allocation(&shared.greenpin_id, longer, bench.at(500)).await.unwrap();
    let opens = |caller, seconds| {
        let (bench, pin) = (&bench, shared.pin.expose());
        async move {
            let (sid, _) = bench.call(SHARED, Some(caller), seconds).await;
            matches!(bench.try_pin(&sid, pin, seconds).await, PinVerdict::Accepted(_))
        }
    };
    assert!(opens(STRANGER, 4099).await);
    assert!(!opens(CUSTOMER, 4099).await, "who is listed no more opens it no more");
    assert!(!opens(STRANGER, 4100).await);
    assert!(bench.create(EXCLUSIVE, 4100).await.is_ok());
}

#[tokio::test]
async fn an_allocation_that_is_cut_short_gives_its_number_and_its_place_back_then() {
    let bench = Bench::new().await;
    let sooner = AllocationChange { duration: Some(Duration::from_secs(300)), ..AllocationChange::default() };
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let changed = bench.tenant.change_allocation(&made.greenpin_id, sooner, bench.at(10)).await.unwrap();
    assert_eq!((changed.expires_at, changed.updated_at), (bench.at(310), bench.at(10)));
    assert_eq!(bench.create(EXCLUSIVE, 309).await, Err(CreateError::VirtualNumberBusy));
    assert!(bench.create(EXCLUSIVE, 310).await.is_ok());
    assert_eq!(
        bench.tenant.change_allocation(&made.greenpin_id, AllocationChange::default(), bench.at(310)).await,
        Err(ChangeError::NotActive)
    );
}

#[tokio::test]
async fn a_limit_that_is_raised_unlocks_and_one_that_is_lowered_locks() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        bench.try_pin(&sid, &wrong(&made.pin), 2).await;
    }
    let limit = |max: u8| {
        let change = AllocationChange { max_pin_attempts: Some(max), ..AllocationChange::default() };
        bench.tenant.change_allocation(&made.greenpin_id, change, bench.at(3))
    };
    assert!(limit(2).await.unwrap().is_locked());
    assert!(!limit(4).await.unwrap().is_locked());
    assert!(!limit(4).await.unwrap().is_locked(), "what changes nothing is told of to nobody");
    assert!(limit(3).await.unwrap().is_locked());
    let types = bench.event_types().await;
    let told: Vec<_> = types.iter().skip_while(|name| *name != "allocation.locked").skip(2).collect();
    let expected = [
        "allocation.updated",
        "allocation.updated",
        "allocation.unlocked",
        "allocation.updated",
        "allocation.locked",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_unlock_sets_the_count_back_and_is_told_of_only_where_there_was_one() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        bench.try_pin(&sid, &wrong(&made.pin), 2).await;
    }
    for seconds in [3, 4] {
        let unlocked = bench.tenant.unlock_allocation(&made.greenpin_id, bench.at(seconds)).await.unwrap();
        assert_eq!((unlocked.failed_pin_attempts, unlocked.updated_at), (0, bench.at(3)));
        assert_eq!(bench.read(&made.greenpin_id).await, unlocked);
    }
    assert!(matches!(bench.try_pin(&sid, made.pin.expose(), 5).await, PinVerdict::Accepted(_)));
    let types = bench.event_types().await;
    assert_eq!(types.iter().filter(|name| *name == "allocation.unlocked").count(), 1);
    let late = bench.tenant.unlock_allocation(&made.greenpin_id, bench.at(600)).await;
    assert_eq!(late, Err(ChangeError::NotActive));
}

#[tokio::test]
async fn a_rotated_pin_is_dead_at_once_cools_off_and_costs_no_place() {
    let bench = Bench::new().await;
    let narrow =
        NewNumber { virtual_number: number(WIDE), mode: NumberMode::Shared, pin_length: 4, max_active: 2 };
    bench.store.add_number(bench.tenant.tenant_id().clone(), narrow, bench.start).await.unwrap();
    let made = bench.create(WIDE, 0).await.unwrap();
    let mut seen = HashSet::from([made.pin.clone()]);
    let mut now = made.pin.clone();
    for _ in 0..50 {
        let rotated = bench.tenant.rotate_pin(&made.greenpin_id, bench.at(1)).await.unwrap();
        assert!(seen.insert(rotated.pin.clone()), "a PIN that cools off is not drawn");
        let (sid, _) = bench.call(WIDE, Some(CUSTOMER), 1).await;
        assert_eq!(bench.try_pin(&sid, now.expose(), 1).await, PinVerdict::Refused);
        assert!(matches!(bench.try_pin(&sid, rotated.pin.expose(), 1).await, PinVerdict::Accepted(_)));
        bench.tenant.unlock_allocation(&made.greenpin_id, bench.at(1)).await.unwrap();
        now = rotated.pin;
    }
    assert!(bench.create(WIDE, 2).await.is_ok(), "one of two places is left");
    assert_eq!(bench.create(WIDE, 3).await, Err(CreateError::PinSpaceExhausted));
    assert_eq!(bench.store.numbers(None, bench.at(3)).await.unwrap()[3].active, 2);
    assert!(bench.create(WIDE, 600).await.is_ok());
}

#[tokio::test]
async fn a_number_that_fills_up_is_told_of_once_and_again_after_it_was_emptier() {
    let bench = Bench::new().await;
    let narrow =
        NewNumber { virtual_number: number(WIDE), mode: NumberMode::Shared, pin_length: 4, max_active: 5 };
    bench.store.add_number(bench.tenant.tenant_id().clone(), narrow, bench.start).await.unwrap();
    let told = async || {
        let events = bench.events().await;
        let low = events.into_iter().filter(|event| event["type"] == "number.capacity_low");
        low.map(|event| event["data"].clone()).collect::<Vec<_>>()
    };
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(bench.create(WIDE, 0).await.unwrap());
    }
    assert!(told().await.is_empty());
    for _ in 0..2 {
        made.push(bench.create(WIDE, 0).await.unwrap());
    }
    assert_eq!(bench.create(WIDE, 0).await, Err(CreateError::PinSpaceExhausted));
    let data = serde_json::json!({ "virtual_number": WIDE, "active_allocations": 4, "max_active": 5 });
    assert_eq!(told().await, std::slice::from_ref(&data));
    bench.tenant.delete_allocation(&made[0].greenpin_id, bench.at(1)).await.unwrap();
    bench.create(WIDE, 2).await.unwrap();
    assert_eq!(told().await.len(), 1, "it was never below the mark");
    for one in &made[1..3] {
        bench.tenant.delete_allocation(&one.greenpin_id, bench.at(3)).await.unwrap();
    }
    bench.create(WIDE, 4).await.unwrap();
    assert_eq!(told().await, [data.clone(), data]);
}

#[tokio::test]
async fn a_numbers_guess_probability_is_that_of_its_active_allocations() {
    let bench = Bench::new().await;
    let attempts = |vn, max_pin_attempts| NewAllocation { max_pin_attempts, ..wanted(vn) };
    for (vn, max) in [(EXCLUSIVE, 2), (SHARED, 3), (SHARED, 5), (OPEN, 10)] {
        bench.tenant.create_allocation(attempts(vn, max), bench.start).await.unwrap();
    }
    let shown = |capacities: Vec<NumberCapacity>| -> Vec<(u32, u32, f64)> {
        let line = |one: &NumberCapacity| (one.number.active, one.most(), one.guess_probability());
        capacities.iter().map(line).collect()
    };
    let now = shown(bench.tenant.capacities(bench.at(599)).await.unwrap());
    assert_eq!(now, [(1, 1, 0.0002), (2, 200, 0.001), (1, 200, 0.00001)]);
    let later = shown(bench.tenant.capacities(bench.at(600)).await.unwrap());
    assert_eq!(later, [(0, 1, 0.0), (0, 200, 0.0), (0, 200, 0.0)]);
    let foreign = bench.store.tenant(TenantId::parse("other").unwrap());
    assert!(foreign.capacities(bench.start).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_is_to_go_again_goes_again_also_when_it_is_under_way() {
    let bench = Bench::new().await;
    let spec = EndpointSpec::to("https://hook.example/");
    bench.tenant.update_settings(|_| (), Some(vec![spec]), bench.start).await.unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.delete_allocation(&made.greenpin_id, bench.at(1)).await.unwrap();
    let claim = |seconds| bench.claim(Duration::from_secs(30), bench.at(seconds));
    let first = claim(2).await.unwrap().remove(0);
    assert_eq!(bench.tenant.redeliver(&first.event_id, bench.at(3)).await.unwrap(), Some(1));
    bench.end(&first, Outcome::Delivered, bench.at(4)).await;
    let again = claim(4).await.unwrap();
    assert_eq!((again.len(), &again[0].event_id, again[0].attempts), (1, &first.event_id, 1));
    bench.end(&again[0], Outcome::Delivered, bench.at(5)).await;
    let second = claim(5).await.unwrap().remove(0);
    assert!(second.body.contains("allocation.deleted"));
    bench.tenant.redeliver(&first.event_id, bench.at(6)).await.unwrap();
    assert!(claim(7).await.unwrap().is_empty(), "events of one allocation go one after the other");
    bench.end(&second, Outcome::GivenUp, bench.at(8)).await;
    assert_eq!(claim(8).await.unwrap()[0].event_id, first.event_id);
}

#[tokio::test]
async fn an_idempotency_key_is_taken_once_and_its_answer_given_for_a_day() {
    let bench = Bench::new().await;
    let day = 24 * 3600;
    let asked = |body: &[u8]| bench.tenant.idempotent_request("k", "POST", "/greenpin", body);
    let take =
        async |body: &[u8], seconds| bench.tenant.take_key(&asked(body), bench.at(seconds)).await.unwrap();
    let Taken::Ours(claim) = take(b"a", 0).await else { panic!("the key is free") };
    assert_eq!((take(b"a", 1).await, take(b"b", 1).await), (Taken::InUse, Taken::Reused));
    let answer = KeptAnswer { status: 201, content_type: "application/json".into(), body: "{}".into() };
    bench.tenant.keep_answer(&asked(b"a"), claim, answer.clone()).await.unwrap();
    assert_eq!(take(b"a", day - 1).await, Taken::Done(answer));
    assert_eq!(take(b"b", day - 1).await, Taken::Reused);
    assert!(matches!(take(b"b", day).await, Taken::Ours(_)));
}

#[tokio::test]
async fn a_key_that_a_crash_left_behind_is_taken_over_after_a_minute() {
    let bench = Bench::new().await;
    let asked = |body: &[u8]| bench.tenant.idempotent_request("k", "POST", "/greenpin", body);
    let take =
        async |body: &[u8], seconds| bench.tenant.take_key(&asked(body), bench.at(seconds)).await.unwrap();
    let Taken::Ours(slow) = take(b"a", 0).await else { panic!("the key is free") };
    assert_eq!((take(b"a", 59).await, take(b"b", 60).await), (Taken::InUse, Taken::Reused));
    let Taken::Ours(second) = take(b"a", 60).await else { panic!("nobody answered") };
    let answer =
        |body: &str| KeptAnswer { status: 200, content_type: "application/json".into(), body: body.into() };
    bench.tenant.release_key(&asked(b"a"), slow).await.unwrap();
    bench.tenant.keep_answer(&asked(b"a"), slow, answer("slow")).await.unwrap();
    assert_eq!(take(b"a", 61).await, Taken::InUse, "who was too slow has no say any more");
    bench.tenant.keep_answer(&asked(b"a"), second, answer("second")).await.unwrap();
    assert_eq!(take(b"a", 200).await, Taken::Done(answer("second")));
}

#[tokio::test]
async fn a_key_that_is_given_back_is_free_and_old_ones_are_forgotten_in_batches() {
    let bench = Bench::new().await;
    let asked = |key: u32| bench.tenant.idempotent_request(&key.to_string(), "POST", "/greenpin", b"");
    for key in 0..501 {
        let Taken::Ours(claim) = bench.tenant.take_key(&asked(key), bench.start).await.unwrap() else {
            panic!("the key is free")
        };
        if key == 0 {
            bench.tenant.release_key(&asked(key), claim).await.unwrap();
            let again = bench.tenant.take_key(&asked(key), bench.at(1)).await.unwrap();
            assert!(matches!(again, Taken::Ours(_)));
        }
    }
    let mut forgotten = Vec::new();
    for seconds in [86_399, 86_400, 86_400, 86_401, 86_401] {
        forgotten.push(bench.store.forget_keys(bench.at(seconds)).await.unwrap());
    }
    assert_eq!(forgotten, [0, 500, 0, 1, 0]);
}

const DAY: u64 = 24 * 3600;

/// Sets what is kept for how many days.
async fn keep(bench: &Bench, retention: Retention) {
    let set = move |settings: &mut TenantSettings| settings.retention = retention;
    bench.tenant.update_settings(set, None, bench.start).await.unwrap();
}

async fn ended_call(bench: &Bench, recorded: bool, seconds: u64) -> CallSid {
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), seconds).await;
    let file = RecordingFile { location: format!("{sid}.wav"), duration: Duration::from_secs(1) };
    let recording = recorded.then_some(file);
    let ending = CallEnding { recording, ..ending(bench.at(seconds + 10)) };
    bench.store.end_call(&sid, ending).await.unwrap();
    sid
}

#[tokio::test]
async fn calls_go_after_their_days_and_their_recordings_before_them() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (plain, recorded) = (ended_call(&bench, false, 0).await, ended_call(&bench, true, 0).await);
    let (lasting, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 0).await;
    let young = ended_call(&bench, true, DAY).await;
    let due = async |at| bench.store.recordings_due(bench.at(at)).await.unwrap();
    let there = async || {
        let mut there = Vec::new();
        for sid in [&plain, &recorded, &lasting, &young] {
            there.push(bench.tenant.call(sid).await.unwrap().is_some());
        }
        there
    };
    assert!(due(1000 * DAY).await.is_empty(), "without a retention everything is kept");
    assert_eq!(bench.store.enforce_retention(bench.at(1000 * DAY)).await.unwrap(), 0);
    keep(&bench, Retention { calls: Some(30), ..Retention::default() }).await;
    assert!(due(30 * DAY + 10).await.is_empty());
    assert_eq!(bench.store.enforce_retention(bench.at(30 * DAY + 10)).await.unwrap(), 0);
    let over = 30 * DAY + 11;
    assert_eq!(bench.store.enforce_retention(bench.at(over)).await.unwrap(), 1);
    assert_eq!(there().await, [false, true, true, true], "a record stays until its recording has gone");
    let first = due(over).await;
    assert_eq!(first.iter().map(|one| &one.call_sid).collect::<Vec<_>>(), [&recorded]);
    bench.store.forget_recording(&first[0]).await.unwrap();
    assert_eq!(bench.store.enforce_retention(bench.at(over)).await.unwrap(), 1);
    assert_eq!(there().await, [false, false, true, true], "a call that lasts is not over");
}

#[tokio::test]
async fn recordings_can_go_before_their_records() {
    let bench = Bench::new().await;
    let sid = ended_call(&bench, true, 0).await;
    keep(&bench, Retention { calls: Some(90), recordings: Some(1), ..Retention::default() }).await;
    let due = bench.store.recordings_due(bench.at(DAY + 11)).await.unwrap();
    bench.store.forget_recording(&due[0]).await.unwrap();
    assert!(bench.store.recordings_due(bench.at(DAY + 11)).await.unwrap().is_empty());
    assert_eq!(bench.store.enforce_retention(bench.at(DAY + 11)).await.unwrap(), 0);
    assert_eq!(bench.tenant.call(&sid).await.unwrap().unwrap().recording, None);
}

#[tokio::test]
async fn ended_allocations_go_after_their_days_and_active_ones_never() {
    let bench = Bench::new().await;
    keep(&bench, Retention { ended_allocations: Some(2), ..Retention::default() }).await;
    let expired = bench.create(SHARED, 0).await.unwrap().greenpin_id;
    let deleted = bench.create(SHARED, 0).await.unwrap().greenpin_id;
    let new = NewAllocation { duration: Duration::from_secs(100 * DAY), ..wanted(OPEN) };
    let active = bench.tenant.create_allocation(new, bench.start).await.unwrap().greenpin_id;
    bench.tenant.delete_allocation(&deleted, bench.at(100)).await.unwrap();
    bench.store.report_expired(bench.at(600)).await.unwrap();
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    let there = async || {
        let mut there = Vec::new();
        for id in [&expired, &deleted, &active] {
            there.push(bench.tenant.allocation(id).await.unwrap().is_some());
        }
        there
    };
    assert_eq!((enforce(2 * DAY + 100).await, enforce(2 * DAY + 101).await), (0, 1));
    assert_eq!(there().await, [true, false, true]);
    assert_eq!((enforce(2 * DAY + 600).await, enforce(2 * DAY + 601).await), (0, 1));
    assert_eq!(there().await, [false, false, true]);
    assert_eq!(enforce(99 * DAY).await, 0);
    assert!(bench.create(SHARED, 3 * DAY).await.is_ok());
}

#[tokio::test]
async fn events_go_when_calls_and_allocations_have_gone_and_nobody_waits_for_them() {
    let bench = Bench::new().await;
    let spec = EndpointSpec { paused: true, ..EndpointSpec::to("https://hook.example/") };
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.tenant.update_settings(|_| (), Some(vec![spec.clone()]), bench.start).await.unwrap();
    bench.tenant.delete_allocation(&made.greenpin_id, bench.at(1)).await.unwrap();
    keep(&bench, Retention { calls: Some(1), ..Retention::default() }).await;
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    assert_eq!(enforce(100 * DAY).await, 0);
    keep(&bench, Retention { calls: Some(1), ended_allocations: Some(8), recordings: None }).await;
    assert_eq!(enforce(8 * DAY).await, 0);
    assert_eq!(enforce(8 * DAY + 10).await, 2, "the allocation, and its first event");
    assert_eq!(bench.event_types().await, ["allocation.deleted"], "an endpoint that is paused will get it");
    let going_on = EndpointSpec { paused: false, ..spec };
    bench.tenant.update_settings(|_| (), Some(vec![going_on]), bench.start).await.unwrap();
    let now = bench.at(8 * DAY + 11);
    let claimed = bench.claim(Duration::from_secs(30), now).await.unwrap();
    bench.end(&claimed[0], Outcome::Delivered, now).await;
    assert_eq!(enforce(8 * DAY + 11).await, 3, "the event, its delivery and the attempt at it");
    assert!(bench.event_types().await.is_empty());
}

#[tokio::test]
async fn what_is_not_kept_goes_in_batches() {
    let bench = Bench::new().await;
    keep(&bench, Retention { calls: Some(1), ..Retention::default() }).await;
    for _ in 0..201 {
        ended_call(&bench, false, 0).await;
    }
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(bench.store.enforce_retention(bench.at(2 * DAY)).await.unwrap());
    }
    assert_eq!(removed, [200, 1, 0]);
}

mod tries {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever is keyed in, in whatever order: the count is that of the wrong tries up to the limit, and the
        /// right PIN opens until the limit is met and never after.
        #[test]
        fn the_count_is_that_of_the_wrong_tries(tries in proptest::collection::vec(any::<bool>(), 1..12), limit in 1_u8..5) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let bench = Bench::new().await;
                let new = NewAllocation { max_pin_attempts: limit, ..wanted(EXCLUSIVE) };
                let made = bench.tenant.create_allocation(new, bench.start).await.unwrap();
                let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
                let mut failed = 0;
                for right in tries {
                    let digits = if right { made.pin.expose().to_owned() } else { wrong(&made.pin) };
                    let opens = matches!(bench.try_pin(&sid, &digits, 2).await, PinVerdict::Accepted(_));
                    assert_eq!(opens, right && failed < limit);
                    failed = (failed + u8::from(!right)).min(limit);
                    assert_eq!(bench.read(&made.greenpin_id).await.failed_pin_attempts, failed);
                }
            });
        }
    }
}

mod resolution {
    use super::*;
    use proptest::prelude::*;

    /// What happens on a number before it is asked about.
    #[derive(Debug, Clone)]
    enum Step {
        Create { on: usize, from: usize, to: usize },
        Delete(usize),
        Try { on: usize, caller: usize, of: usize },
        Wait(u64),
        Policy(bool),
    }

    const NUMBERS: [&str; 3] = [EXCLUSIVE, SHARED, OPEN];
    const CALLERS: [Option<&str>; 4] = [Some(AGENT), Some(CUSTOMER), Some(STRANGER), None];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..3_usize, 0..3_usize, 0..3_usize).prop_map(|(on, from, to)| Step::Create { on, from, to }),
            1 => (0..8_usize).prop_map(Step::Delete),
            6 => (0..3_usize, 0..4_usize, 0..8_usize).prop_map(|(on, caller, of)| Step::Try { on, caller, of }),
            1 => (1..400_u64).prop_map(Step::Wait),
            1 => any::<bool>().prop_map(Step::Policy),
        ]
    }

    struct World {
        bench: Bench,
        made: Vec<Allocation>,
        seconds: u64,
    }

    impl World {
        async fn take(&mut self, step: Step) {
            let now = self.bench.at(self.seconds);
            match step {
                Step::Create { on, from, to } => {
                    let to = if from == to { Vec::new() } else { vec![number(CALLERS[to].unwrap())] };
                    let from = vec![number(CALLERS[from].unwrap())];
                    let new = NewAllocation { from, to, ..wanted(NUMBERS[on]) };
                    self.made.extend(self.bench.tenant.create_allocation(new, now).await);
                }
                Step::Delete(which) => {
                    if let Some(made) = self.made.get(which) {
                        let _ = self.bench.tenant.delete_allocation(&made.greenpin_id, now).await;
                    }
                }
                Step::Try { on, caller, of } => self.ask(on, caller, of).await,
                Step::Wait(seconds) => self.seconds += seconds,
                Step::Policy(listed) => {
                    let policy = if listed { CallerPolicy::Listed } else { CallerPolicy::Any };
                    let set = move |settings: &mut TenantSettings| settings.caller_policy = policy;
                    self.bench.tenant.update_settings(set, None, now).await.unwrap();
                }
            }
        }

        /// Asks, then calls: the call meets what was told, and asking has changed nothing.
        async fn ask(&self, on: usize, caller: usize, of: usize) {
            let (vn, caller, now) = (NUMBERS[on], CALLERS[caller], self.bench.at(self.seconds));
            let digits = self.made.get(of).map_or("0000", |made| made.pin.expose());
            let ask = |digits: Option<&str>| {
                let digits = digits.map(|digits| Pin::parse(digits).unwrap());
                self.bench.tenant.resolve(number(vn), caller.map(number), digits, now)
            };
            let (bare, told) = (ask(None).await.unwrap(), ask(Some(digits)).await.unwrap());
            assert_eq!(ask(Some(digits)).await.unwrap(), told);
            let (sid, route) = self.bench.call(vn, caller, self.seconds).await;
            match route {
                Route::Collect(collect) => {
                    let asked = matches!(bare, Resolution::CollectPin { pin_length, .. } if pin_length == collect.pin_length);
                    assert!(asked, "{bare:?}");
                    let digits: String = digits.chars().take(collect.pin_length.into()).collect();
                    let verdict = self.bench.try_pin(&sid, &digits, self.seconds).await;
                    self.compare(told, verdict).await;
                }
                Route::NotInUse => {
                    assert_eq!((bare, told), (Resolution::NotInUse, Resolution::NotInUse));
                }
                Route::UnknownNumber => panic!("the number is in the pool"),
            }
        }

        async fn compare(&self, told: Resolution, verdict: PinVerdict) {
            match (told, verdict) {
                (Resolution::Connected(told), PinVerdict::Accepted(met)) => assert_eq!(told, met),
                (Resolution::Refused(told, _), PinVerdict::Refused) => {
                    let events = self.bench.events().await;
                    let failed = events.iter().rfind(|event| event["type"] == "call.pin_failed").unwrap();
                    assert_eq!(failed["data"]["reason"], told.as_str());
                }
                (told, met) => panic!("told {told:?}, met {met:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_call_meets_what_resolve_has_told(steps in proptest::collection::vec(step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut world = World { bench: Bench::new().await, made: Vec::new(), seconds: 0 };
                for step in steps {
                    world.take(step).await;
                }
            });
        }
    }
}

#[tokio::test]
async fn no_number_pin_secret_or_token_can_be_read_in_the_database() {
    let bench = Bench::new().await;
    let endpoint = EndpointSpec::to("https://hooks.example/a");
    let made = bench.tenant.update_settings(|_| {}, Some(vec![endpoint]), bench.start).await.unwrap();
    let wide =
        NewNumber { virtual_number: number(WIDE), mode: NumberMode::Shared, pin_length: 8, max_active: 10 };
    bench.store.add_number(TenantId::parse("acme").unwrap(), wide, bench.start).await.unwrap();
    let allocation = bench.create(WIDE, 0).await.unwrap();
    let (sid, _) = bench.call(WIDE, Some(STRANGER), 1).await;
    bench.try_pin(&sid, &wrong(&allocation.pin), 2).await;
    bench.try_pin(&sid, allocation.pin.expose(), 3).await;
    bench.store.call_ringing(&sid, number(AGENT), bench.at(4)).await.unwrap();
    bench.store.call_answered(&sid, number(AGENT), bench.at(5)).await.unwrap();
    bench
        .store
        .end_call(&sid, CallEnding { dialled: Some(number(AGENT)), ..ending(bench.at(6)) })
        .await
        .unwrap();
    let change = AllocationChange { to: Some(vec![number(STRANGER)]), ..AllocationChange::default() };
    bench.tenant.change_allocation(&allocation.greenpin_id, change, bench.at(7)).await.unwrap();
    let rotated = bench.tenant.rotate_pin(&allocation.greenpin_id, bench.at(8)).await.unwrap();
    let other = NewTenant {
        tenant_id: TenantId::parse("other").unwrap(),
        account_sid: "AC2".into(),
        token: None,
        settings: TenantSettings::default(),
        webhooks: Vec::new(),
    };
    let Ok(other) = bench.store.create_tenant(other, bench.start).await else { panic!("its name is free") };
    let kept = raw(&bench.options.database);
    let holds = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(allocation.greenpin_id.as_str()), "what is read is the database");
    let numbers = [WIDE, AGENT, CUSTOMER, STRANGER, EXCLUSIVE].map(|number| number.trim_start_matches('+'));
    let pins = [allocation.pin.expose(), rotated.pin.expose()];
    let secret = made[0].1.trim_start_matches("whsec_");
    for text in numbers.into_iter().chain(pins).chain([secret, &other.token]) {
        assert!(!holds(text), "the database holds {} characters that it must not", text.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_of_wrong_pins_holds_for_two_stores_on_one_database() {
    let bench = Bench::new().await;
    let other = Store::open(&bench.options).unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let wrong = Pin::parse(&wrong(&made.pin)).unwrap();
    let mut calls = Vec::new();
    for second in 1..=10 {
        calls.push(bench.call(EXCLUSIVE, Some(CUSTOMER), second).await.0);
    }
    let at = bench.at(20);
    let mut tries = tokio::task::JoinSet::new();
    for (index, sid) in calls.iter().cloned().enumerate() {
        let store = if index % 2 == 0 { bench.store.clone() } else { other.clone() };
        let wrong = wrong.clone();
        tries.spawn(async move { store.try_pin(&sid, &wrong, at).await });
    }
    assert!(tries.join_all().await.iter().all(|verdict| *verdict == Ok(PinVerdict::Refused)));
    assert_eq!(bench.read(&made.greenpin_id).await.failed_pin_attempts, 3);
    let locked = bench.event_types().await.iter().filter(|name| *name == "allocation.locked").count();
    assert_eq!(locked, 1);
    assert_eq!(other.try_pin(&calls[0], &made.pin, bench.at(21)).await, Ok(PinVerdict::Refused));
}
