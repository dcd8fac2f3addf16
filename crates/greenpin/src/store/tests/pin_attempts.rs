//! PIN attempts: results, counts, lockouts.

use super::*;

#[tokio::test]
async fn a_correct_pin_refunds_its_attempt_and_returns_the_numbers_to_dial() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, route) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let Route::Collect(collect) = route else {
        panic!("the number is in use")
    };
    assert_eq!((collect.pin_length, collect.max_attempts), (4, 3));
    assert_eq!(
        bench.attempt_pin(&sid, &wrong(&made.pin), 2).await,
        Verdict::Refused
    );
    let Verdict::Accepted(connection) = bench.attempt_pin(&sid, made.pin.expose(), 3).await else {
        panic!("the PIN is right")
    };
    assert_eq!(connection.dial, [number(AGENT)]);
    let read = bench.read(&made.greenpin_id).await;
    assert_eq!(
        (
            read.failed_pin_attempts,
            read.attempt_count,
            read.call_count
        ),
        (1, 1, 0)
    );
    let (back, _) = bench.call(EXCLUSIVE, Some(AGENT), 4).await;
    let Verdict::Accepted(connection) = bench.attempt_pin(&back, made.pin.expose(), 5).await else {
        panic!("the PIN is right")
    };
    assert_eq!(connection.dial, [number(CUSTOMER)]);
}

#[tokio::test]
async fn at_the_limit_no_pin_opens_and_one_event_is_written() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, None, 1).await;
    for _ in 0..3 {
        assert_eq!(
            bench.attempt_pin(&sid, &wrong(&made.pin), 2).await,
            Verdict::Refused
        );
    }
    for _ in 0..2 {
        assert_eq!(
            bench.attempt_pin(&sid, made.pin.expose(), 3).await,
            Verdict::Refused
        );
    }
    let read = bench.read(&made.greenpin_id).await;
    assert!(read.is_locked());
    assert_eq!(read.failed_pin_attempts, 3);
    let types = bench.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "allocation.locked")
            .count(),
        1
    );
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "call.pin_failed")
            .count(),
        5
    );
}

#[tokio::test]
async fn on_a_shared_number_an_attempt_of_a_listed_caller_counts_against_each_of_its_allocations() {
    let bench = Bench::new().await;
    let first = bench.create(SHARED, 0).await.unwrap();
    let second = bench.create(SHARED, 0).await.unwrap();
    let (sid, _) = bench.call(SHARED, Some(CUSTOMER), 1).await;
    let mut neither = (0..10_000).map(|value| format!("{value:04}"));
    let neither = neither
        .find(|pin| pin != first.pin.expose() && pin != second.pin.expose())
        .unwrap();
    bench.attempt_pin(&sid, &neither, 2).await;
    let counts = |first: Allocation, second: Allocation| {
        (first.failed_pin_attempts, second.failed_pin_attempts)
    };
    assert_eq!(
        counts(
            bench.read(&first.greenpin_id).await,
            bench.read(&second.greenpin_id).await
        ),
        (1, 1)
    );
    assert!(matches!(
        bench.attempt_pin(&sid, second.pin.expose(), 3).await,
        Verdict::Accepted(_)
    ));
    assert_eq!(
        counts(
            bench.read(&first.greenpin_id).await,
            bench.read(&second.greenpin_id).await
        ),
        (1, 1)
    );
    assert_eq!(bench.read(&second.greenpin_id).await.attempt_count, 1);
}

#[tokio::test]
async fn short_shared_pins_open_for_listed_callers_only_and_long_ones_for_any_caller() {
    let bench = Bench::new().await;
    let short = bench.create(SHARED, 0).await.unwrap();
    let long = bench.create(OPEN, 0).await.unwrap();
    for caller in [Some(STRANGER), None] {
        let (sid, _) = bench.call(SHARED, caller, 1).await;
        assert_eq!(
            bench.attempt_pin(&sid, short.pin.expose(), 2).await,
            Verdict::Refused
        );
        let (sid, _) = bench.call(OPEN, caller, 1).await;
        assert!(matches!(
            bench.attempt_pin(&sid, long.pin.expose(), 2).await,
            Verdict::Accepted(_)
        ));
    }
    let only_listed = |settings: &mut TenantSettings| settings.caller_policy = CallerPolicy::Listed;
    bench
        .tenant
        .update_settings(only_listed, None, bench.start)
        .await
        .unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 3).await;
    assert_eq!(
        bench.attempt_pin(&sid, long.pin.expose(), 4).await,
        Verdict::Refused
    );
}

#[tokio::test]
async fn five_wrong_attempts_lock_an_unlisted_caller_out_for_15_minutes_then_for_twice_as_long() {
    let bench = Bench::new().await;
    let new = NewAllocation {
        duration: Duration::from_secs(90_000),
        ..wanted(OPEN)
    };
    let made = bench
        .tenant
        .create_allocation(new, bench.start)
        .await
        .unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 0).await;
    for _ in 0..5 {
        bench.attempt_pin(&sid, &wrong(&made.pin), 0).await;
    }
    assert_eq!(
        bench.attempt_pin(&sid, made.pin.expose(), 899).await,
        Verdict::Refused
    );
    for _ in 0..5 {
        bench.attempt_pin(&sid, &wrong(&made.pin), 900).await;
    }
    assert_eq!(
        bench.attempt_pin(&sid, made.pin.expose(), 900 + 1799).await,
        Verdict::Refused
    );
    assert!(matches!(
        bench.attempt_pin(&sid, made.pin.expose(), 900 + 1800).await,
        Verdict::Accepted(_)
    ));
}

#[tokio::test]
async fn twenty_wrong_attempts_of_unlisted_callers_close_a_number_to_them_but_not_to_listed_callers()
 {
    let bench = Bench::new().await;
    let made = bench.create(OPEN, 0).await.unwrap();
    for caller in 0..21 {
        let (sid, _) = bench
            .call(OPEN, Some(&format!("+9177000001{caller:02}")), 1)
            .await;
        bench.attempt_pin(&sid, &wrong(&made.pin), 1).await;
    }
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 2).await;
    assert_eq!(
        bench.attempt_pin(&sid, made.pin.expose(), 2).await,
        Verdict::Refused
    );
    let (sid, _) = bench.call(OPEN, Some(CUSTOMER), 2).await;
    assert!(matches!(
        bench.attempt_pin(&sid, made.pin.expose(), 2).await,
        Verdict::Accepted(_)
    ));
    let types = bench.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "number.pin_attack")
            .count(),
        1
    );
    let later = bench
        .tenant
        .create_allocation(wanted(OPEN), bench.at(1801))
        .await
        .unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 1802).await;
    assert!(matches!(
        bench.attempt_pin(&sid, later.pin.expose(), 1802).await,
        Verdict::Accepted(_)
    ));
}

/// With two hundred open PINs of six digits, the 68 attempts of a day succeed with a probability of 0.014.
#[tokio::test]
async fn all_unlisted_callers_together_get_one_attempt_per_half_hour_after_the_first_twenty() {
    let bench = Bench::new().await;
    let new = NewAllocation {
        duration: Duration::from_secs(90_000),
        ..wanted(OPEN)
    };
    let made = bench
        .tenant
        .create_allocation(new, bench.start)
        .await
        .unwrap();
    let mut callers = (0..).map(|caller| format!("+91770000{caller:04}"));
    for _ in 0..20 {
        let (sid, _) = bench.call(OPEN, callers.next().as_deref(), 1).await;
        bench.attempt_pin(&sid, &wrong(&made.pin), 1).await;
    }
    for half_hour in 0..48 {
        let at = 2 + 1800 * half_hour;
        for digits in [wrong(&made.pin), made.pin.expose().to_owned()] {
            let (sid, _) = bench.call(OPEN, callers.next().as_deref(), at).await;
            assert_eq!(
                bench.attempt_pin(&sid, &digits, at).await,
                Verdict::Refused,
                "half hour {half_hour}"
            );
        }
    }
    let (sid, _) = bench
        .call(OPEN, callers.next().as_deref(), 2 + 1800 * 48)
        .await;
    let one_more = bench
        .attempt_pin(&sid, made.pin.expose(), 2 + 1800 * 48)
        .await;
    assert!(matches!(one_more, Verdict::Accepted(_)));
}

mod sequences {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// For any sequence of attempts, the count equals the number of wrong ones up to the limit. The correct PIN
        /// opens before the limit only.
        #[test]
        fn the_count_equals_the_number_of_wrong_attempts(tries in proptest::collection::vec(any::<bool>(), 1..12), limit in 1_u8..5) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let bench = Bench::new().await;
                let new = NewAllocation { max_pin_attempts: limit, ..wanted(EXCLUSIVE) };
                let made = bench.tenant.create_allocation(new, bench.start).await.unwrap();
                let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
                let mut failed = 0;
                for right in tries {
                    let digits = if right { made.pin.expose().to_owned() } else { wrong(&made.pin) };
                    let opens = matches!(bench.attempt_pin(&sid, &digits, 2).await, Verdict::Accepted(_));
                    assert_eq!(opens, right && failed < limit);
                    failed = (failed + u8::from(!right)).min(limit);
                    assert_eq!(bench.read(&made.greenpin_id).await.failed_pin_attempts, failed);
                }
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_database_share_the_count_of_wrong_pins() {
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
        let store = if index % 2 == 0 {
            bench.store.clone()
        } else {
            other.clone()
        };
        let wrong = wrong.clone();
        tries.spawn(async move { store.attempt_pin(&sid, None, &wrong, at).await });
    }
    assert!(
        tries
            .join_all()
            .await
            .iter()
            .all(|verdict| *verdict == Ok(Verdict::Refused))
    );
    assert_eq!(bench.read(&made.greenpin_id).await.failed_pin_attempts, 3);
    let locked = bench
        .event_types()
        .await
        .iter()
        .filter(|name| *name == "allocation.locked")
        .count();
    assert_eq!(locked, 1);
    assert_eq!(
        other
            .attempt_pin(&calls[0], None, &made.pin, bench.at(21))
            .await,
        Ok(Verdict::Refused)
    );
}

/// Caller that asks to be hidden.
fn withheld(caller: &str) -> TrunkCaller {
    TrunkCaller {
        withheld: true,
        ..Some(number(caller)).into()
    }
}

#[tokio::test]
async fn a_withheld_number_is_matched_and_not_shown_to_the_tenant() {
    let bench = Bench::new().await;
    let made = bench.create(SHARED, 0).await.unwrap();
    let (sid, _) = bench.call_from(SHARED, withheld(CUSTOMER), 1).await;
    let Verdict::Accepted(connection) = bench.attempt_pin(&sid, made.pin.expose(), 2).await else {
        panic!("the caller is listed")
    };
    assert_eq!(connection.dial, [number(AGENT)]);
    let read = bench.tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!(
        (read.caller, read.shown_caller()),
        (Some(number(CUSTOMER)), None)
    );
    let by_party = CallFilter {
        party: Some(number(CUSTOMER)),
        ..CallFilter::default()
    };
    assert_eq!(bench.tenant.calls(by_party, None, 10).await.unwrap(), []);
    let events = bench.events().await;
    let of_call = events
        .iter()
        .filter(|event| event["type"].as_str().unwrap().starts_with("call."));
    let callers: Vec<_> = of_call.map(|event| event["data"]["from"].clone()).collect();
    assert_eq!(callers, [serde_json::Value::Null, serde_json::Value::Null]);
}

#[tokio::test]
async fn withheld_unlisted_callers_are_throttled_each_by_its_own_number() {
    let bench = Bench::new().await;
    let made = bench.create(OPEN, 0).await.unwrap();
    let (sid, _) = bench.call_from(OPEN, withheld(STRANGER), 1).await;
    for _ in 0..5 {
        bench.attempt_pin(&sid, &wrong(&made.pin), 1).await;
    }
    for (caller, verdict) in [(STRANGER, false), ("+917700000002", true)] {
        let (sid, _) = bench.call_from(OPEN, withheld(caller), 2).await;
        let opened = bench.attempt_pin(&sid, made.pin.expose(), 2).await;
        assert_eq!(matches!(opened, Verdict::Accepted(_)), verdict, "{caller}");
    }
}

#[tokio::test]
async fn local_digits_of_a_caller_are_read_in_the_tenants_country() {
    let bench = Bench::new().await;
    let made = bench.create(SHARED, 0).await.unwrap();
    let local = || TrunkCaller {
        numbers: ["1001", "08800000001"]
            .map(|digits| TrunkNumber::Local(digits.into()))
            .into(),
        withheld: false,
    };
    let (sid, _) = bench.call_from(SHARED, local(), 1).await;
    assert_eq!(
        bench.attempt_pin(&sid, made.pin.expose(), 1).await,
        Verdict::Refused
    );
    let in_india = |settings: &mut TenantSettings| settings.country = Some("IN".into());
    let updated = bench.tenant.update_settings(in_india, None, bench.start);
    updated.await.unwrap();
    let (sid, _) = bench.call_from(SHARED, local(), 2).await;
    assert!(matches!(
        bench.attempt_pin(&sid, made.pin.expose(), 2).await,
        Verdict::Accepted(_)
    ));
    let read = bench.tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!(read.shown_caller(), Some(number(CUSTOMER)));
}
