//! Records and events of calls.

use super::*;

#[tokio::test]
async fn a_call_has_one_record_and_one_terminal_event_after_repeated_ends() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench.attempt_pin(&sid, made.pin.expose(), 2).await;
    bench.ring_and_answer(&sid, 3, 5).await;
    let deleted = bench
        .tenant
        .delete_allocation(&made.greenpin_id, bench.at(6));
    deleted.await.unwrap();
    let recording = RecordingFile {
        location: "a.wav".into(),
        duration: Duration::from_secs(20),
    };
    let ending = CallEnding {
        dialled: Some(number(AGENT)),
        dialled_at: Some(bench.at(3)),
        bridged_at: Some(bench.at(5)),
        call_type: CallType::Completed,
        cause: CallCause::Completed,
        legs: CallLegs::default(),
        dial_call_status: Some(DialStatus::Completed),
        recording: Some(recording.clone()),
        ..ending(bench.at(25))
    };
    for _ in 0..2 {
        bench.store.end_call(&sid, ending.clone()).await.unwrap();
    }
    let expected = [
        "allocation.created",
        "call.initiated",
        "call.pin_accepted",
        "call.ringing",
        "call.answered",
        "allocation.deleted",
        "call.completed",
        "recording.ready",
    ];
    assert_eq!(bench.event_types().await, expected);
    let events = bench.events().await;
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7, 8]);
    let data = &events[6]["data"];
    assert_eq!(
        (&data["on_call_duration"], &data["dial_call_duration"]),
        (&20.into(), &22.into())
    );
    assert_eq!(data["call_type"], "completed");
    let record = bench.tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!(
        (record.dialled, record.recording),
        (Some(number(AGENT)), Some(recording))
    );
    assert_eq!(bench.read(&made.greenpin_id).await.call_count, 1);
    let calls = bench
        .tenant
        .calls_of_allocation(&made.greenpin_id, None, 10);
    assert_eq!(calls.await.unwrap().len(), 1);
}

#[tokio::test]
async fn open_calls_of_a_crashed_node_are_closed_at_its_next_start() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (open, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let (closed, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    bench
        .store
        .end_call(&closed, ending(bench.at(2)))
        .await
        .unwrap();
    assert_eq!(bench.store.join("node-2", bench.at(9)).await.unwrap().1, 0);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 1);
    assert_eq!(bench.store.join("node-1", bench.at(9)).await.unwrap().1, 0);
    let record = bench.tenant.call(&open).await.unwrap().unwrap();
    assert_eq!(
        (record.ended_at, record.hangup_by),
        (Some(bench.at(9)), Some(HangupBy::System))
    );
    let types = bench.event_types().await;
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "call.completed")
            .count(),
        2
    );
}
