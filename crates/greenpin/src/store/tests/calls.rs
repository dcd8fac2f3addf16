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
    assert_eq!(bench.join("node-2", 9).await, 0);
    assert_eq!(bench.join("node-1", 9).await, 1);
    assert_eq!(bench.join("node-1", 9).await, 0);
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

#[tokio::test]
async fn a_drain_request_reaches_its_node_with_the_next_heartbeat() {
    let bench = Bench::new().await;
    let (member, _) = bench.join_as("node-1", 0).await;
    let state = NodeState {
        calls: 7,
        is_draining: false,
    };
    let beat = async |seconds| member.heartbeat(state, bench.at(seconds)).await.unwrap();
    let recorded = |drain_wanted| Heartbeat::Recorded { drain_wanted };
    assert_eq!(beat(3).await, recorded(false));
    let operator = bench.store.operator(Actor::command_line());
    let want = async |node, wanted| {
        operator
            .want_drain(node, wanted, bench.at(4))
            .await
            .unwrap()
    };
    assert!(want("node-1", true).await);
    assert!(!want("node-2", true).await);
    assert_eq!(beat(6).await, recorded(true));
    assert!(want("node-1", false).await);
    assert_eq!(beat(9).await, recorded(false));
    let [row] = &bench.store.nodes().await.unwrap()[..] else {
        panic!("one node");
    };
    assert_eq!(
        (row.calls, row.heartbeats, row.lease()),
        (7, 4, Some(Duration::from_secs(15)))
    );
    assert_eq!((row.seen_at, row.started_at), (bench.at(9), bench.at(0)));
    // A restart ends the drain.
    want("node-1", true).await;
    let (member, _) = bench.join_as("node-1", 20).await;
    let beat = member.heartbeat(NodeState::default(), bench.at(21)).await;
    assert_eq!(beat.unwrap(), recorded(false));
    let actions = operator.audit_after(None, 10).await.unwrap();
    let actions: Vec<_> = actions.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["node.drain", "node.undrain", "node.drain"]);
}
