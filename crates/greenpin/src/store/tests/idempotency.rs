//! Idempotency keys: claim, takeover, deletion.

use super::*;

#[tokio::test]
async fn an_idempotency_key_is_claimed_once_and_its_answer_repeated_for_a_day() {
    let bench = Bench::new().await;
    let day = 24 * 3600;
    let asked = |body: &[u8]| {
        bench
            .tenant
            .idempotent_request("k", "POST", "/greenpin", body)
    };
    let take = async |body: &[u8], seconds| {
        bench
            .tenant
            .claim_key(&asked(body), bench.at(seconds))
            .await
            .unwrap()
    };
    let KeyClaim::Claimed(claim) = take(b"a", 0).await else {
        panic!("the key is free")
    };
    assert_eq!(
        (take(b"a", 1).await, take(b"b", 1).await),
        (KeyClaim::InUse, KeyClaim::Reused)
    );
    let answer = StoredAnswer {
        status: 201,
        content_type: "application/json".into(),
        body: "{}".into(),
    };
    bench
        .tenant
        .store_answer(&asked(b"a"), claim, answer.clone())
        .await
        .unwrap();
    assert_eq!(take(b"a", day - 1).await, KeyClaim::Answered(answer));
    assert_eq!(take(b"b", day - 1).await, KeyClaim::Reused);
    assert!(matches!(take(b"b", day).await, KeyClaim::Claimed(_)));
}

#[tokio::test]
async fn a_claim_left_by_a_crash_can_be_taken_over_after_a_minute() {
    let bench = Bench::new().await;
    let asked = |body: &[u8]| {
        bench
            .tenant
            .idempotent_request("k", "POST", "/greenpin", body)
    };
    let take = async |body: &[u8], seconds| {
        bench
            .tenant
            .claim_key(&asked(body), bench.at(seconds))
            .await
            .unwrap()
    };
    let KeyClaim::Claimed(slow) = take(b"a", 0).await else {
        panic!("the key is free")
    };
    assert_eq!(
        (take(b"a", 59).await, take(b"b", 60).await),
        (KeyClaim::InUse, KeyClaim::Reused)
    );
    let KeyClaim::Claimed(second) = take(b"a", 60).await else {
        panic!("nobody answered")
    };
    bench.tenant.release_key(&asked(b"a"), slow).await.unwrap();
    bench
        .tenant
        .store_answer(&asked(b"a"), slow, answer("slow"))
        .await
        .unwrap();
    assert_eq!(
        take(b"a", 61).await,
        KeyClaim::InUse,
        "who was too slow has no say any more"
    );
    bench
        .tenant
        .store_answer(&asked(b"a"), second, answer("second"))
        .await
        .unwrap();
    assert_eq!(take(b"a", 200).await, KeyClaim::Answered(answer("second")));
}

#[tokio::test]
async fn a_released_key_is_free_and_old_keys_are_deleted_in_batches() {
    let bench = Bench::new().await;
    let asked = |key: u32| {
        bench
            .tenant
            .idempotent_request(&key.to_string(), "POST", "/greenpin", b"")
    };
    for key in 0..501 {
        let KeyClaim::Claimed(claim) = bench
            .tenant
            .claim_key(&asked(key), bench.start)
            .await
            .unwrap()
        else {
            panic!("the key is free")
        };
        if key == 0 {
            bench.tenant.release_key(&asked(key), claim).await.unwrap();
            let again = bench
                .tenant
                .claim_key(&asked(key), bench.at(1))
                .await
                .unwrap();
            assert!(matches!(again, KeyClaim::Claimed(_)));
        }
    }
    let mut forgotten = Vec::new();
    for seconds in [86_399, 86_400, 86_400, 86_401, 86_401] {
        forgotten.push(
            bench
                .store
                .delete_old_idempotency_keys(bench.at(seconds))
                .await
                .unwrap(),
        );
    }
    assert_eq!(forgotten, [0, 500, 0, 1, 0]);
}

#[tokio::test]
async fn the_answer_to_a_rotation_or_redelivery_is_stored_with_its_write() {
    let bench = Bench::new().await;
    let endpoints = Some(vec![EndpointSpec::to("https://hook.example/")]);
    let made = bench.tenant.update_settings(|_| (), endpoints, bench.start);
    let endpoint = made.await.unwrap().remove(0).0;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let event = bench.tenant.events_after(None, 1).await.unwrap().remove(0);
    let event = EventId::parse(&event.event_id).unwrap();
    let claimed = async |key: &str, seconds| {
        let asked = bench.tenant.idempotent_request(key, "POST", "/", b"");
        let claim = bench.tenant.claim_key(&asked, bench.at(seconds)).await;
        match claim.unwrap() {
            KeyClaim::Claimed(claim) => Ok(bench.tenant.claimed(&asked, claim)),
            claim => Err(claim),
        }
    };
    let store = claimed("rotate", 1).await.unwrap();
    let until = bench.at(1000);
    let secret = store.rotate_secret(&endpoint, until, |secret| answer(secret));
    let secret = secret.await.unwrap().unwrap();
    let store = claimed("redeliver", 2).await.unwrap();
    let sent = store.redeliver(&event, bench.at(2), |count| answer(&count.to_string()));
    assert_eq!(sent.await, Ok(Some(1)));
    // Both answers are lost. The keys get them again, and nothing is done twice.
    for (key, body) in [("rotate", secret.as_str()), ("redeliver", "1")] {
        let found = claimed(key, 100).await.err();
        assert_eq!(found, Some(KeyClaim::Answered(answer(body))));
    }
}

#[tokio::test]
async fn a_rotation_whose_key_was_taken_over_changes_nothing() {
    let bench = Bench::new().await;
    let endpoints = Some(vec![EndpointSpec::to("https://hook.example/")]);
    let made = bench.tenant.update_settings(|_| (), endpoints, bench.start);
    let endpoint = made.await.unwrap().remove(0).0;
    let asked = bench.tenant.idempotent_request("k", "POST", "/", b"");
    let take = async |seconds| match bench.tenant.claim_key(&asked, bench.at(seconds)).await {
        Ok(KeyClaim::Claimed(claim)) => bench.tenant.claimed(&asked, claim),
        other => panic!("{other:?}"),
    };
    let (slow, second) = (take(0).await, take(60).await);
    let until = bench.at(1000);
    let late = slow.rotate_secret(&endpoint, until, |secret| answer(secret));
    assert!(late.await.is_err());
    let secret = second.rotate_secret(&endpoint, until, |secret| answer(secret));
    assert!(secret.await.unwrap().is_some());
}
