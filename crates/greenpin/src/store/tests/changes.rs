//! Changes of allocations, unlocking and rotation of PINs.

use super::*;

#[tokio::test]
async fn an_extended_allocation_keeps_its_number_its_pin_and_its_callers() {
    let bench = Bench::new().await;
    let longer = AllocationChange {
        duration: Some(Duration::from_secs(3600)),
        to: Some(vec![number(STRANGER)]),
        ..AllocationChange::default()
    };
    let held = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .change_allocation(&held.greenpin_id, longer.clone(), bench.at(500))
        .await
        .unwrap();
    assert_eq!(
        bench.create(EXCLUSIVE, 4099).await,
        Err(CreateError::VirtualNumberBusy)
    );
    let shared = bench.create(SHARED, 0).await.unwrap();
    bench
        .tenant
        .change_allocation(&shared.greenpin_id, longer, bench.at(500))
        .await
        .unwrap();
    let opens = |caller, seconds| {
        let (bench, pin) = (&bench, shared.pin.expose());
        async move {
            let (sid, _) = bench.call(SHARED, Some(caller), seconds).await;
            matches!(
                bench.attempt_pin(&sid, pin, seconds).await,
                Verdict::Accepted(_)
            )
        }
    };
    assert!(opens(STRANGER, 4099).await);
    assert!(
        !opens(CUSTOMER, 4099).await,
        "who is listed no more opens it no more"
    );
    assert!(!opens(STRANGER, 4100).await);
    assert!(bench.create(EXCLUSIVE, 4100).await.is_ok());
}

#[tokio::test]
async fn a_shortened_allocation_releases_its_number_and_its_slot_at_its_new_end() {
    let bench = Bench::new().await;
    let sooner = AllocationChange {
        duration: Some(Duration::from_secs(300)),
        ..AllocationChange::default()
    };
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let changed = bench
        .tenant
        .change_allocation(&made.greenpin_id, sooner, bench.at(10))
        .await
        .unwrap();
    assert_eq!(
        (changed.expires_at, changed.updated_at),
        (bench.at(310), bench.at(10))
    );
    assert_eq!(
        bench.create(EXCLUSIVE, 309).await,
        Err(CreateError::VirtualNumberBusy)
    );
    assert!(bench.create(EXCLUSIVE, 310).await.is_ok());
    assert_eq!(
        bench
            .tenant
            .change_allocation(
                &made.greenpin_id,
                AllocationChange::default(),
                bench.at(310)
            )
            .await,
        Err(ChangeError::NotActive)
    );
}

#[tokio::test]
async fn a_raised_limit_unlocks_and_a_lowered_limit_locks() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        bench.attempt_pin(&sid, &wrong(&made.pin), 2).await;
    }
    let limit = |max: u8| {
        let change = AllocationChange {
            max_pin_attempts: Some(max),
            ..AllocationChange::default()
        };
        bench
            .tenant
            .change_allocation(&made.greenpin_id, change, bench.at(3))
    };
    assert!(limit(2).await.unwrap().is_locked());
    assert!(!limit(4).await.unwrap().is_locked());
    assert!(
        !limit(4).await.unwrap().is_locked(),
        "what changes nothing is told of to nobody"
    );
    assert!(limit(3).await.unwrap().is_locked());
    let types = bench.event_types().await;
    let told: Vec<_> = types
        .iter()
        .skip_while(|name| *name != "allocation.locked")
        .skip(2)
        .collect();
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
async fn an_unlock_resets_the_count_and_writes_an_event_only_after_wrong_pins() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        bench.attempt_pin(&sid, &wrong(&made.pin), 2).await;
    }
    for seconds in [3, 4] {
        let unlocked = bench
            .tenant
            .unlock_allocation(&made.greenpin_id, bench.at(seconds))
            .await
            .unwrap();
        assert_eq!(
            (unlocked.failed_pin_attempts, unlocked.updated_at),
            (0, bench.at(3))
        );
        assert_eq!(bench.read(&made.greenpin_id).await, unlocked);
    }
    assert!(matches!(
        bench.attempt_pin(&sid, made.pin.expose(), 5).await,
        Verdict::Accepted(_)
    ));
    let types = bench.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "allocation.unlocked")
            .count(),
        1
    );
    let late = bench
        .tenant
        .unlock_allocation(&made.greenpin_id, bench.at(600))
        .await;
    assert_eq!(late, Err(ChangeError::NotActive));
}

#[tokio::test]
async fn a_rotated_pin_is_invalid_at_once_cools_off_and_takes_no_slot() {
    let bench = Bench::new().await;
    bench.share_wide(4, 2).await;
    let made = bench.create(WIDE, 0).await.unwrap();
    let mut seen = HashSet::from([made.pin.clone()]);
    let mut now = made.pin.clone();
    for _ in 0..50 {
        let rotated = bench
            .tenant
            .rotate_pin(&made.greenpin_id, bench.at(1))
            .await
            .unwrap();
        assert!(
            seen.insert(rotated.pin.clone()),
            "a PIN that cools off is not drawn"
        );
        let (sid, _) = bench.call(WIDE, Some(CUSTOMER), 1).await;
        assert_eq!(
            bench.attempt_pin(&sid, now.expose(), 1).await,
            Verdict::Refused
        );
        assert!(matches!(
            bench.attempt_pin(&sid, rotated.pin.expose(), 1).await,
            Verdict::Accepted(_)
        ));
        bench
            .tenant
            .unlock_allocation(&made.greenpin_id, bench.at(1))
            .await
            .unwrap();
        now = rotated.pin;
    }
    assert!(
        bench.create(WIDE, 2).await.is_ok(),
        "one of two places is left"
    );
    assert_eq!(
        bench.create(WIDE, 3).await,
        Err(CreateError::PinSpaceExhausted)
    );
    assert_eq!(
        bench.store.numbers(None, bench.at(3)).await.unwrap()[3].active,
        2
    );
    assert!(bench.create(WIDE, 600).await.is_ok());
}

#[tokio::test]
async fn low_capacity_is_reported_once_and_again_after_slots_were_free() {
    let bench = Bench::new().await;
    bench.share_wide(4, 5).await;
    let told = async || {
        let events = bench.events().await;
        let low = events
            .into_iter()
            .filter(|event| event["type"] == "number.capacity_low");
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
    assert_eq!(
        bench.create(WIDE, 0).await,
        Err(CreateError::PinSpaceExhausted)
    );
    let data =
        serde_json::json!({ "virtual_number": WIDE, "active_allocations": 4, "max_active": 5 });
    assert_eq!(told().await, std::slice::from_ref(&data));
    bench
        .tenant
        .delete_allocation(&made[0].greenpin_id, bench.at(1))
        .await
        .unwrap();
    bench.create(WIDE, 2).await.unwrap();
    assert_eq!(told().await.len(), 1, "it was never below the mark");
    for allocation in &made[1..3] {
        bench
            .tenant
            .delete_allocation(&allocation.greenpin_id, bench.at(3))
            .await
            .unwrap();
    }
    bench.create(WIDE, 4).await.unwrap();
    assert_eq!(told().await, [data.clone(), data]);
}

#[tokio::test]
async fn the_guess_probability_of_a_number_follows_its_active_allocations() {
    let bench = Bench::new().await;
    let attempts = |vn, max_pin_attempts| NewAllocation {
        max_pin_attempts,
        ..wanted(vn)
    };
    for (vn, max) in [(EXCLUSIVE, 2), (SHARED, 3), (SHARED, 5), (OPEN, 10)] {
        bench
            .tenant
            .create_allocation(attempts(vn, max), bench.start)
            .await
            .unwrap();
    }
    let shown = |capacities: Vec<NumberCapacity>| -> Vec<(u32, u32, f64)> {
        let line = |capacity: &NumberCapacity| {
            (
                capacity.number.active,
                capacity.max_allocations(),
                capacity.guess_probability(),
            )
        };
        capacities.iter().map(line).collect()
    };
    let now = shown(bench.tenant.capacities(bench.at(599)).await.unwrap());
    assert_eq!(now, [(1, 1, 0.0002), (2, 200, 0.001), (1, 200, 0.00001)]);
    let later = shown(bench.tenant.capacities(bench.at(600)).await.unwrap());
    assert_eq!(later, [(0, 1, 0.0), (0, 200, 0.0), (0, 200, 0.0)]);
    let foreign = bench.store.tenant(TenantId::parse("other").unwrap());
    assert!(foreign.capacities(bench.start).await.unwrap().is_empty());
}
