//! The engine on real sockets, between softphones and on a real store.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use call::PhoneNumber;
use signalling::{LegId, Network, Transport, TrunkPeer};
use tempfile::TempDir;

use super::media::RecordingFormat;
use super::softphone::{Softphone, SoftphoneEvent, SoftphoneSettings};
use super::*;
use crate::store::{
    Database, NewAllocation, NewNumber, NewTenant, NumberMode, StoreOptions, TenantId,
    TenantSettings, Timestamp,
};

const VN: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

struct EngineHarness {
    _folder: TempDir,
    engine: Engine,
    agent: Softphone,
    pin: String,
    store: Store,
    supervisor: Supervisor,
}

async fn phone(server: SocketAddr, first_port: u16) -> Softphone {
    let media_ports = first_port..=first_port + 99;
    let settings = SoftphoneSettings {
        listen: any_port(),
        media_ports,
        server,
        accept_from: Vec::new(),
        transport: Transport::Udp,
    };
    Softphone::start(settings).await.unwrap()
}

impl EngineHarness {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Creates a harness with modified settings.
    async fn with(change: impl FnOnce(&mut EngineSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = phone(any_port(), 33_000).await;
        let store = Store::open(&StoreOptions::new(
            Database::File(folder.path().join("greenpin.db")),
            folder.path().join("master.key"),
        ));
        let store = store.unwrap();
        let pin = allocate(&store).await;
        let sip = signalling::Trunk {
            peer: Some(TrunkPeer::at(Transport::Udp, agent.address())),
            accept_from: vec![Network::single(any_port().ip())],
            ..signalling::Trunk::default()
        };
        let trunk = TrunkSettings {
            name: "loopback".to_owned(),
            sip,
            ..TrunkSettings::default()
        };
        let mut settings = EngineSettings {
            listen: vec![ListenSettings::plain(Listen {
                transport: Transport::Udp,
                address: any_port(),
            })],
            tls: None,
            dns: None,
            advertised: any_port().ip(),
            dscp: Dscp::default(),
            timers: SipTimers::default(),
            silent: Vec::new(),
            trunks: vec![trunk],
            media: MediaSettings {
                ports: 33_200..=33_399,
                silence_limit: EVENT_TIMEOUT,
                ..MediaSettings::default()
            },
            prompts: Prompts::built_in().unwrap(),
            recordings: folder.path().join("recordings"),
            recording_format: RecordingFormat::Wav,
            encrypt_recordings: false,
            node: "test".to_owned(),
            max_calls: 1,
            tenant_limit: CallLimit {
                max_calls: 1,
                calls_per_second: 100,
            },
            supervisor: Supervisor::default(),
        };
        change(&mut settings);
        let supervisor = settings.supervisor.clone();
        let engine = Engine::start(settings, store.clone()).await.unwrap();
        Self {
            _folder: folder,
            engine,
            agent,
            pin,
            store,
            supervisor,
        }
    }

    /// Creates a caller who was answered and entered the PIN.
    async fn caller(&self) -> (Softphone, LegId) {
        let mut caller = phone(self.engine.udp(), 33_400).await;
        let leg = caller.dial(VN, CUSTOMER).unwrap();
        until(&mut caller, |event| {
            matches!(event, SoftphoneEvent::Answered(_))
        })
        .await;
        caller.press(leg, &self.pin);
        (caller, leg)
    }

    /// Waits until the agent's phone rings, while the caller's phone keeps running.
    async fn wait_for_ring(&mut self, caller: &mut Softphone) -> LegId {
        loop {
            tokio::select! {
                event = self.agent.event() => if let SoftphoneEvent::Incoming { leg, .. } = event { return leg },
                _ = caller.event() => {}
            }
        }
    }

    /// Waits until a call is bridged, while the phones keep running.
    async fn wait_for_bridge(&mut self, caller: &mut Softphone) {
        let handle = self.engine.handle();
        let bridged = async {
            loop {
                let calls = handle.calls().await;
                if calls.iter().any(|call| call.state == CallState::Bridged) {
                    return;
                }
                tokio::select! {
                    _ = self.agent.event() => {}
                    _ = caller.event() => {}
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, bridged)
            .await
            .expect("a call is bridged");
    }

    /// Waits until the engine holds no objects, while the phones keep running.
    async fn wait_for_idle(&mut self, caller: &mut Softphone) {
        let idle = async {
            loop {
                let load = self.engine.load().await.unwrap();
                let held = (
                    load.calls,
                    load.unproven_calls,
                    load.legs,
                    load.streams,
                    load.media_legs,
                    load.deadlines,
                    load.sip.legs,
                );
                if held == (0, 0, 0, 0, 0, 0, 0) {
                    return;
                }
                tokio::select! {
                    _ = self.agent.event() => {}
                    _ = caller.event() => {}
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, idle)
            .await
            .expect("the engine still holds objects");
    }
}

async fn until(phone: &mut Softphone, fits: impl Fn(&SoftphoneEvent) -> bool) {
    let seen = async { while !fits(&phone.event().await) {} };
    tokio::time::timeout(EVENT_TIMEOUT, seen)
        .await
        .expect("the phone emitted no such event");
}

async fn allocate(store: &Store) -> String {
    let tenant = TenantId::parse("acme").unwrap();
    let now = Timestamp::now();
    let new = NewTenant {
        tenant_id: tenant.clone(),
        account_sid: "AC0001".to_owned(),
        token: None,
        settings: TenantSettings::default(),
        webhooks: Vec::new(),
    };
    store.create_tenant(new, now).await.unwrap();
    let pooled = NewNumber {
        virtual_number: number(VN),
        mode: NumberMode::Exclusive,
        pin_length: 4,
        max_active: 1,
    };
    store.add_number(tenant.clone(), pooled, now).await.unwrap();
    let new = NewAllocation {
        to: vec![number(CUSTOMER)],
        ..NewAllocation::new(number(VN), vec![number(AGENT)])
    };
    store
        .tenant(tenant)
        .create_allocation(new, now)
        .await
        .unwrap()
        .pin
        .expose()
        .to_owned()
}

#[tokio::test]
async fn a_bridged_call_leaves_no_objects_in_the_engine() {
    let mut harness = EngineHarness::new().await;
    let (mut caller, leg) = harness.caller().await;
    let ringing = harness.wait_for_ring(&mut caller).await;
    harness.agent.answer(ringing);
    // The agent presses a key. Its arrival at the customer proves the bridge.
    harness.agent.press(ringing, "5");
    let connected = async {
        loop {
            tokio::select! {
                _ = harness.agent.event() => {}
                event = caller.event() => if matches!(event, SoftphoneEvent::Key(_)) { return },
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, connected)
        .await
        .expect("both parties are connected");
    caller.hang_up(leg);
    harness.wait_for_idle(&mut caller).await;
}

#[tokio::test]
async fn a_declined_call_leaves_no_objects_in_the_engine() {
    let mut harness = EngineHarness::new().await;
    let (mut caller, _) = harness.caller().await;
    let ringing = harness.wait_for_ring(&mut caller).await;
    harness.agent.decline(ringing, 486);
    harness.wait_for_idle(&mut caller).await;
}

#[tokio::test]
async fn a_cancelled_call_leaves_no_objects_in_the_engine() {
    let mut harness = EngineHarness::new().await;
    let (mut caller, leg) = harness.caller().await;
    harness.wait_for_ring(&mut caller).await;
    caller.hang_up(leg);
    harness.wait_for_idle(&mut caller).await;
}

#[tokio::test]
async fn a_call_without_rtp_is_ended_on_both_sides() {
    let mut harness =
        EngineHarness::with(|settings| settings.media.silence_limit = Duration::from_secs(2)).await;
    let (mut caller, _) = harness.caller().await;
    let ringing = harness.wait_for_ring(&mut caller).await;
    harness.agent.answer(ringing);
    // From now on neither phone sends audio.
    let both_hung_up = async {
        tokio::join!(
            until(&mut harness.agent, |event| matches!(
                event,
                SoftphoneEvent::HungUp
            )),
            until(&mut caller, |event| matches!(event, SoftphoneEvent::HungUp)),
        )
    };
    both_hung_up.await;
    harness.wait_for_idle(&mut caller).await;
}

#[tokio::test]
async fn a_call_with_direct_media_does_not_count_as_silent() {
    let change = |settings: &mut EngineSettings| {
        settings.media.silence_limit = Duration::from_secs(2);
        settings
            .trunks
            .iter_mut()
            .for_each(|trunk| trunk.direct_media = true);
        settings.max_calls = 2;
        settings.tenant_limit.max_calls = 2;
    };
    let mut harness = EngineHarness::with(change).await;
    let (mut caller, leg) = harness.caller().await;
    let ringing = harness.wait_for_ring(&mut caller).await;
    harness.agent.answer(ringing);
    // Another caller without audio is hung up. By then the bridged call would be too.
    let mut silent = phone(harness.engine.udp(), 33_600).await;
    silent.dial(VN, CUSTOMER).unwrap();
    let hung_up = async {
        loop {
            tokio::select! {
                event = harness.agent.event() => assert!(!matches!(event, SoftphoneEvent::HungUp)),
                event = caller.event() => assert!(!matches!(event, SoftphoneEvent::HungUp)),
                event = silent.event() => if matches!(event, SoftphoneEvent::HungUp) { return },
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, hung_up)
        .await
        .expect("a silent caller is hung up on");
    caller.press(leg, "5");
    until(&mut harness.agent, |event| {
        matches!(event, SoftphoneEvent::Key(_))
    })
    .await;
    caller.hang_up(leg);
    harness.wait_for_idle(&mut caller).await;
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_rejected_with_503() {
    let harness = EngineHarness::new().await;
    let (_caller, _) = harness.caller().await;
    let mut other = phone(harness.engine.udp(), 33_500).await;
    other.dial(VN, CUSTOMER).unwrap();
    until(&mut other, |event| {
        matches!(event, SoftphoneEvent::Failed(503))
    })
    .await;
}

/// Runs a bridged call beside a second caller who was answered, ends the second call by a key that meets a fail point,
/// and checks that the first one is unharmed and that both records are complete.
async fn assert_only_one_call_ends_at(fail_point: &'static str) {
    let change = |settings: &mut EngineSettings| {
        settings.max_calls = 2;
        settings.tenant_limit.max_calls = 2;
    };
    let mut harness = EngineHarness::with(change).await;
    let (mut caller, leg) = harness.caller().await;
    let ringing = harness.wait_for_ring(&mut caller).await;
    harness.agent.answer(ringing);
    // A late input of the first call must not meet the fail point.
    harness.wait_for_bridge(&mut caller).await;
    let mut other = phone(harness.engine.udp(), 33_700).await;
    let second = other.dial(VN, CUSTOMER).unwrap();
    until(&mut other, |event| {
        matches!(event, SoftphoneEvent::Answered(_))
    })
    .await;
    harness.supervisor.arm(fail_point);
    other.press(second, "1");
    until(&mut other, |event| matches!(event, SoftphoneEvent::HungUp)).await;
    // The agent presses a key. Its arrival at the customer proves that the first call goes on.
    harness.agent.press(ringing, "5");
    let connected = async {
        loop {
            tokio::select! {
                event = harness.agent.event() => assert!(!matches!(event, SoftphoneEvent::HungUp)),
                event = caller.event() => match event {
                    SoftphoneEvent::Key(_) => return,
                    event => assert!(!matches!(event, SoftphoneEvent::HungUp)),
                },
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, connected)
        .await
        .expect("the first call goes on");
    caller.hang_up(leg);
    harness.wait_for_idle(&mut caller).await;
    assert!(harness.supervisor.is_sound());
    assert!(
        harness.store.open_calls("test").await.unwrap().is_empty(),
        "a record is open"
    );
}

#[tokio::test]
async fn a_panic_in_one_call_ends_that_call_alone() {
    assert_only_one_call_ends_at("call").await;
}

#[tokio::test]
async fn a_panic_in_the_media_of_one_leg_ends_its_call_alone() {
    assert_only_one_call_ends_at("media_leg").await;
}

#[tokio::test]
async fn the_end_of_a_media_thread_is_reported() {
    let harness = EngineHarness::new().await;
    harness.supervisor.arm(Part::MediaThread.as_str());
    let mut caller = phone(harness.engine.udp(), 33_800).await;
    caller.dial(VN, CUSTOMER).unwrap();
    let failed = async {
        tokio::select! {
            failed = harness.supervisor.failure() => failed,
            () = async { loop { caller.event().await; } } => unreachable!(),
        }
    };
    let failed = tokio::time::timeout(EVENT_TIMEOUT, failed).await.unwrap();
    assert_eq!(failed, Part::MediaThread);
}
