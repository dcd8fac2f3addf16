//! Numbers and PINs of allocations: limits, cool-off, reuse.

use super::*;

async fn concurrent_creates(
    bench: &Bench,
    vn: &'static str,
    count: usize,
    seconds: u64,
) -> Vec<Result<Allocation, CreateError>> {
    let mut results = Vec::new();
    while results.len() < count {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..WAVE.min(count - results.len()) {
            let (tenant, now) = (bench.tenant.clone(), bench.at(seconds));
            tasks.spawn(async move { tenant.create_allocation(wanted(vn), now).await });
        }
        results.extend(tasks.join_all().await);
    }
    results
}

/// Number of concurrent writes. Each ends before the time limit of a write, also on a slow machine.
const WAVE: usize = 500;

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
        let created = concurrent_creates(&bench, WIDE, count, round * 10).await;
        let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
        for made in &created {
            assert!(
                pins.insert(made.pin.clone()),
                "a PIN came twice within its cool-off"
            );
        }
        for wave in created.chunks(WAVE) {
            let deletes = wave.iter().map(|made| {
                let (tenant, id) = (bench.tenant.clone(), made.greenpin_id.clone());
                let now = bench.at(round * 10 + 1);
                async move { tenant.delete_allocation(&id, now).await.unwrap() }
            });
            let deletes: tokio::task::JoinSet<_> = deletes.collect();
            deletes.join_all().await;
        }
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
