//! Deliveries of events to endpoints.

use super::*;

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
            .redeliver(&first.event_id, bench.at(3), |_| answer("a"))
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
        .redeliver(&first.event_id, bench.at(6), |_| answer("a"))
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
