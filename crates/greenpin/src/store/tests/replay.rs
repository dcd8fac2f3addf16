//! Redelivery of failed events, and replay of many.

use super::*;

/// Result of a replay with one delivery for each event.
fn replayed(events: usize) -> Replayed {
    Replayed {
        events,
        deliveries: events,
    }
}

#[tokio::test]
async fn failed_events_are_listed_and_can_be_redelivered_by_id_and_by_time_with_the_same_id() {
    let bench = OutboxBench::with(&["https://a.example/", "https://b.example/"]).await;
    let endpoints = bench.endpoints().await;
    for seconds in [10, 20, 30] {
        bench.allocate(seconds).await;
        for claimed in bench.claim(seconds).await {
            let outcome = match seconds {
                ..30 if claimed.endpoint_id == endpoints[0].id => AttemptOutcome::Failed,
                _ => AttemptOutcome::Delivered,
            };
            bench.end(&claimed, outcome, seconds).await;
        }
    }
    let dead = async |endpoint: Option<&Endpoint>| {
        let found = bench
            .tenant
            .failed_events_after(None, endpoint.map(|endpoint| endpoint.id.clone()), 10)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|event| EventId::parse(&event.event_id).unwrap())
            .collect::<Vec<_>>()
    };
    let ids = dead(None).await;
    assert_eq!(
        (ids.len(), dead(Some(&endpoints[0])).await == ids),
        (2, true)
    );
    assert!(dead(Some(&endpoints[1])).await.is_empty());
    let sent = bench
        .tenant
        .redeliver(&ids[0], bench.at(40), |_| answer("a"));
    assert_eq!(sent.await, Ok(Some(2)));
    for claimed in bench.claim(40).await {
        assert_eq!(claimed.event_id, ids[0]);
        bench.end(&claimed, AttemptOutcome::Delivered, 40).await;
    }
    assert_eq!(dead(None).await, ids[1..]);
    let replay = |after, before, dead, types: Option<&str>| ReplayRequest {
        after: bench.at(after),
        before: bench.at(before),
        types: types.map(|name| vec![name.to_owned()]),
        endpoint_id: None,
        failed: dead,
        cursor: None,
    };
    let again = async |replay| bench.tenant.replay(replay, bench.at(50)).await.unwrap().0;
    assert_eq!(
        again(replay(0, 100, true, Some("call.completed"))).await,
        replayed(0)
    );
    assert_eq!(again(replay(0, 20, true, None)).await, replayed(0));
    assert_eq!(again(replay(20, 21, true, None)).await, replayed(1));
    assert!(dead(None).await.is_empty());
    let to_b = ReplayRequest {
        endpoint_id: Some(endpoints[1].id.clone()),
        ..replay(0, 100, false, None)
    };
    assert_eq!(again(to_b).await, replayed(3));
    assert_eq!(bench.claim(51).await.len(), 4);
}

#[tokio::test]
async fn a_large_replay_continues_from_its_cursor_and_keeps_the_order() {
    let bench = OutboxBench::with(&[]).await;
    let id = bench.allocate(0).await;
    for second in 1..1005 {
        bench
            .tenant
            .rotate_pin(&id, bench.at(second))
            .await
            .unwrap();
    }
    bench
        .tenant
        .update_settings(
            |_| (),
            Some(vec![EndpointSpec::to("https://a.example/")]),
            bench.start,
        )
        .await
        .unwrap();
    let mut wanted = ReplayRequest {
        after: bench.start,
        before: bench.at(DAY),
        types: None,
        endpoint_id: None,
        failed: false,
        cursor: None,
    };
    let (first, next) = bench
        .tenant
        .replay(wanted.clone(), bench.at(2000))
        .await
        .unwrap();
    assert_eq!(first, replayed(1000));
    wanted.cursor = next;
    let (rest, next) = bench.tenant.replay(wanted, bench.at(2000)).await.unwrap();
    assert_eq!((rest, next), (replayed(5), None));
    for sequence in 1..=20 {
        let claimed = bench.claim(2001).await;
        assert_eq!(claimed.len(), 1, "one after the other");
        assert!(
            claimed[0]
                .body
                .contains(&format!("\"sequence\":{sequence},"))
        );
        bench
            .end(&claimed[0], AttemptOutcome::Delivered, 2001)
            .await;
    }
}

#[tokio::test]
async fn events_that_wait_thirty_days_for_a_paused_endpoint_fail_and_can_be_replayed() {
    let bench = OutboxBench::with(&["https://a.example/"]).await;
    let spec = |paused| EndpointSpec {
        paused,
        ..EndpointSpec::to("https://a.example/")
    };
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec(true)]), bench.at(0))
        .await
        .unwrap();
    bench.allocate(1).await;
    bench.allocate(DAY).await;
    assert_eq!(
        bench.store.abandon_deliveries(bench.at(30 * DAY)).await,
        Ok(0)
    );
    assert_eq!(
        bench.store.abandon_deliveries(bench.at(30 * DAY + 2)).await,
        Ok(1)
    );
    assert_eq!(
        bench
            .tenant
            .failed_events_after(None, None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec(false)]), bench.at(31 * DAY))
        .await
        .unwrap();
    assert_eq!(bench.claim(31 * DAY).await.len(), 1);
}
