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
    let answer = |body: &str| StoredAnswer {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
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
