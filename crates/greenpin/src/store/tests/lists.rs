//! Lists of allocations.

use super::*;

#[tokio::test]
async fn a_filter_that_all_rows_match_does_not_change_a_list_of_any_length() {
    let bench = Bench::new().await;
    bench.share_wide(4, 1000).await;
    let mut made = Vec::new();
    for second in 0..203 {
        made.push(bench.create(WIDE, second).await.unwrap().greenpin_id);
    }
    made.sort_unstable_by(|left, right| right.cmp(left));
    let active = AllocationFilter {
        status: Some(Status::Active),
        ..AllocationFilter::default()
    };
    for filter in [AllocationFilter::default(), active] {
        for (before, limit, found) in [
            (None, 1, 0..1),
            (None, 201, 0..201),
            (None, 202, 0..202),
            (Some(200), 201, 201..203),
        ] {
            let before = before.map(|index: usize| made[index].clone());
            let list = bench
                .tenant
                .allocations(filter.clone(), before, limit, bench.at(300))
                .await
                .unwrap();
            let ids: Vec<GreenpinId> = list
                .into_iter()
                .map(|allocation| allocation.greenpin_id)
                .collect();
            assert!(ids == made[found], "{filter:?}, {limit}");
        }
    }
}
