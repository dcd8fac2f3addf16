//! Retention of calls, recordings, allocations and events.

use super::*;

/// Sets the retention of the tenant.
async fn keep(bench: &Bench, retention: Retention) {
    let set = move |settings: &mut TenantSettings| settings.retention = retention;
    bench
        .tenant
        .update_settings(set, None, bench.start)
        .await
        .unwrap();
}

async fn ended_call(bench: &Bench, recorded: bool, seconds: u64) -> CallSid {
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), seconds).await;
    let file = RecordingFile {
        location: format!("{sid}.wav"),
        duration: Duration::from_secs(1),
    };
    let recording = recorded.then_some(file);
    let ending = CallEnding {
        recording,
        ..ending(bench.at(seconds + 10))
    };
    bench.store.end_call(&sid, ending).await.unwrap();
    sid
}

#[tokio::test]
async fn calls_are_removed_after_their_retention_and_their_recordings_first() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (plain, recorded) = (
        ended_call(&bench, false, 0).await,
        ended_call(&bench, true, 0).await,
    );
    let (lasting, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 0).await;
    let young = ended_call(&bench, true, DAY).await;
    let due = async |at| {
        bench
            .store
            .recordings_due(None, bench.at(at))
            .await
            .unwrap()
    };
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    let there = async || {
        let mut there = Vec::new();
        for sid in [&plain, &recorded, &lasting, &young] {
            there.push(bench.tenant.call(sid).await.unwrap().is_some());
        }
        there
    };
    assert!(
        due(1000 * DAY).await.is_empty(),
        "without a retention everything is kept"
    );
    assert_eq!(enforce(1000 * DAY).await, 0);
    keep(
        &bench,
        Retention {
            calls: Some(30),
            ..Retention::default()
        },
    )
    .await;
    assert!(due(30 * DAY + 10).await.is_empty());
    assert_eq!(enforce(30 * DAY + 10).await, 0);
    let over = 30 * DAY + 11;
    assert_eq!(enforce(over).await, 1);
    assert_eq!(
        there().await,
        [false, true, true, true],
        "a record stays until its recording has gone"
    );
    let first = due(over).await;
    assert_eq!(
        first
            .iter()
            .map(|recording| &recording.call_sid)
            .collect::<Vec<_>>(),
        [&recorded]
    );
    bench.store.clear_recording(&first[0]).await.unwrap();
    assert_eq!(enforce(over).await, 1);
    assert_eq!(
        there().await,
        [false, false, true, true],
        "a call that lasts is not over"
    );
}

#[tokio::test]
async fn a_node_removes_its_own_recordings_and_those_in_a_bucket() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let sid = ended_call(&bench, true, 0).await;
    let retention = Retention {
        recordings: Some(1),
        ..Retention::default()
    };
    keep(&bench, retention).await;
    let due = async |node| {
        let due = bench.store.recordings_due(node, bench.at(9 * DAY)).await;
        due.unwrap().len()
    };
    let nodes = [None, Some("node-1"), Some("node-2")];
    let count = async || {
        [
            due(nodes[0]).await,
            due(nodes[1]).await,
            due(nodes[2]).await,
        ]
    };
    assert_eq!(count().await, [1, 1, 0]);
    let upload = Upload {
        call_sid: sid.clone(),
        tenant_id: Some(bench.tenant.tenant_id().clone()),
        file: format!("{sid}.wav"),
        attempts: 0,
    };
    let location = format!("s3://bucket/{sid}.wav");
    assert!(
        bench
            .store
            .upload_done(&upload, location, bench.at(1))
            .await
            .unwrap()
    );
    assert_eq!(count().await, [1, 1, 1]);
}

#[tokio::test]
async fn recordings_can_have_a_shorter_retention_than_their_records() {
    let bench = Bench::new().await;
    let sid = ended_call(&bench, true, 0).await;
    keep(
        &bench,
        Retention {
            calls: Some(90),
            recordings: Some(1),
            ..Retention::default()
        },
    )
    .await;
    let due = bench
        .store
        .recordings_due(None, bench.at(DAY + 11))
        .await
        .unwrap();
    bench.store.clear_recording(&due[0]).await.unwrap();
    assert!(
        bench
            .store
            .recordings_due(None, bench.at(DAY + 11))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        bench
            .store
            .enforce_retention(bench.at(DAY + 11))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        bench.tenant.call(&sid).await.unwrap().unwrap().recording,
        None
    );
}

#[tokio::test]
async fn ended_allocations_are_removed_after_their_retention_and_active_ones_never() {
    let bench = Bench::new().await;
    keep(
        &bench,
        Retention {
            ended_allocations: Some(2),
            ..Retention::default()
        },
    )
    .await;
    let expired = bench.create(SHARED, 0).await.unwrap().greenpin_id;
    let deleted = bench.create(SHARED, 0).await.unwrap().greenpin_id;
    let new = NewAllocation {
        duration: Duration::from_secs(100 * DAY),
        ..wanted(OPEN)
    };
    let active = bench
        .tenant
        .create_allocation(new, bench.start)
        .await
        .unwrap()
        .greenpin_id;
    bench
        .tenant
        .delete_allocation(&deleted, bench.at(100))
        .await
        .unwrap();
    bench.store.report_expired(bench.at(600)).await.unwrap();
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    let there = async || {
        let mut there = Vec::new();
        for id in [&expired, &deleted, &active] {
            there.push(bench.tenant.allocation(id).await.unwrap().is_some());
        }
        there
    };
    assert_eq!(
        (enforce(2 * DAY + 100).await, enforce(2 * DAY + 101).await),
        (0, 1)
    );
    assert_eq!(there().await, [true, false, true]);
    assert_eq!(
        (enforce(2 * DAY + 600).await, enforce(2 * DAY + 601).await),
        (0, 1)
    );
    assert_eq!(there().await, [false, false, true]);
    assert_eq!(enforce(99 * DAY).await, 0);
    assert!(bench.create(SHARED, 3 * DAY).await.is_ok());
}

#[tokio::test]
async fn events_are_removed_after_calls_allocations_and_open_deliveries() {
    let bench = Bench::new().await;
    let spec = EndpointSpec {
        paused: true,
        ..EndpointSpec::to("https://hook.example/")
    };
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench
        .tenant
        .update_settings(|_| (), Some(vec![spec.clone()]), bench.start)
        .await
        .unwrap();
    bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(1))
        .await
        .unwrap();
    let calls_only = Retention {
        calls: Some(1),
        ..Retention::default()
    };
    keep(&bench, calls_only).await;
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    assert_eq!(enforce(100 * DAY).await, 0);
    let allocations_too = Retention {
        ended_allocations: Some(8),
        ..calls_only
    };
    keep(&bench, allocations_too).await;
    assert_eq!(enforce(8 * DAY).await, 0);
    assert_eq!(
        enforce(8 * DAY + 10).await,
        2,
        "the allocation, and its first event"
    );
    assert_eq!(
        bench.event_types().await,
        ["allocation.deleted"],
        "an endpoint that is paused will get it"
    );
    let going_on = EndpointSpec {
        paused: false,
        ..spec
    };
    bench
        .tenant
        .update_settings(|_| (), Some(vec![going_on]), bench.start)
        .await
        .unwrap();
    let now = bench.at(8 * DAY + 11);
    let claimed = bench.claim(Duration::from_secs(30), now).await.unwrap();
    bench.end(&claimed[0], AttemptOutcome::Delivered, now).await;
    assert_eq!(
        enforce(8 * DAY + 11).await,
        3,
        "the event, its delivery and the attempt at it"
    );
    assert!(bench.event_types().await.is_empty());
}

#[tokio::test]
async fn retention_removes_rows_in_batches() {
    let bench = Bench::new().await;
    keep(
        &bench,
        Retention {
            calls: Some(1),
            ..Retention::default()
        },
    )
    .await;
    for _ in 0..201 {
        ended_call(&bench, false, 0).await;
    }
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(
            bench
                .store
                .enforce_retention(bench.at(2 * DAY))
                .await
                .unwrap(),
        );
    }
    assert_eq!(removed, [200, 1, 0]);
}

/// Writes the trace of a call.
async fn write_trace(bench: &Bench, sid: &CallSid) {
    let trace = CallTrace {
        truncated: true,
        ..CallTrace::default()
    };
    let tenant = bench.tenant.tenant_id().clone();
    let sealed = SealedTrace::new(tenant, sid.clone(), &trace).unwrap();
    bench.store.write_traces(vec![sealed]).await.unwrap();
}

#[tokio::test]
async fn traces_are_removed_after_their_own_retention_and_with_their_call_at_the_latest() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (old, young) = (
        ended_call(&bench, false, 0).await,
        ended_call(&bench, false, DAY).await,
    );
    write_trace(&bench, &old).await;
    write_trace(&bench, &young).await;
    write_trace(&bench, &CallSid::new(bench.at(0))).await;
    let there = async || {
        let mut there = Vec::new();
        for sid in [&old, &young] {
            let trace = bench.tenant.trace(sid).await.unwrap();
            there.push(trace.is_some_and(|trace| trace.truncated));
        }
        there
    };
    let enforce = async |at| bench.store.enforce_retention(bench.at(at)).await.unwrap();
    assert_eq!(there().await, [true, true]);
    assert_eq!(enforce(7 * DAY - 1).await, 0);
    assert_eq!(
        enforce(7 * DAY + 1).await,
        1,
        "a trace of no call was not written"
    );
    assert_eq!(there().await, [false, true]);
    keep(
        &bench,
        Retention {
            calls: Some(1),
            ..Retention::default()
        },
    )
    .await;
    assert_eq!(enforce(2 * DAY + 20).await, 3, "two calls and a trace");
    assert_eq!(there().await, [false, false]);
}
