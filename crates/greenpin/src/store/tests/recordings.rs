//! Uploads of recordings, and links to them.

use super::*;

const NODE: &str = "a-node";

/// Creates a recorded call on a store with uploads.
async fn recorded(bench: &Bench) -> (Store, CallSid) {
    let options = StoreOptions {
        upload_recordings: true,
        ..bench.options.clone()
    };
    let store = Store::open(&options).unwrap();
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let call_sid = CallSid::new(bench.at(1));
    let call = NewCall {
        call_sid: call_sid.clone(),
        virtual_number: number(EXCLUSIVE),
        caller: Some(number(CUSTOMER)).into(),
        trunk: "carrier".into(),
        node: NODE.into(),
        started_at: bench.at(1),
    };
    store.begin_call(call).await.unwrap();
    let recording = Some(RecordingFile {
        location: "a.wav".into(),
        duration: Duration::from_secs(2),
    });
    store
        .end_call(
            &call_sid,
            CallEnding {
                recording,
                ..ending(bench.at(5))
            },
        )
        .await
        .unwrap();
    (store, call_sid)
}

#[tokio::test]
async fn a_recording_is_ready_after_its_upload_and_reported_once() {
    let bench = Bench::new().await;
    let (store, call_sid) = recorded(&bench).await;
    assert_eq!(bench.event_types().await.last().unwrap(), "call.completed");
    assert!(
        store
            .uploads_due("another", bench.at(9), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let due = store.uploads_due(NODE, bench.at(9), 10).await.unwrap();
    let [upload] = &due[..] else {
        panic!("{due:?}")
    };
    assert_eq!(
        (&upload.call_sid, upload.file.as_str(), upload.attempts),
        (&call_sid, "a.wav", 0)
    );
    store.upload_failed(upload, bench.at(20)).await.unwrap();
    assert!(
        store
            .uploads_due(NODE, bench.at(19), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.pending_uploads(NODE).await.unwrap(), 1);
    let due = store.uploads_due(NODE, bench.at(20), 10).await.unwrap();
    assert_eq!(due[0].attempts, 1);
    for was_there in [true, false] {
        let done = store
            .upload_done(&due[0], "s3://bucket/a.wav".into(), bench.at(21))
            .await;
        assert_eq!(done, Ok(was_there));
    }
    let record = bench.tenant.call(&call_sid).await.unwrap().unwrap();
    assert_eq!(record.recording.unwrap().location, "s3://bucket/a.wav");
    let told = bench.event_types().await;
    assert_eq!(
        told.iter()
            .filter(|told| *told == "recording.ready")
            .count(),
        1
    );
    assert_eq!(store.pending_uploads(NODE).await.unwrap(), 0);
}

#[tokio::test]
async fn an_unused_recording_stays_in_the_queue_until_its_file_is_removed() {
    let bench = Bench::new().await;
    let (store, call_sid) = recorded(&bench).await;
    let kept = StoredRecording {
        tenant_id: bench.tenant.tenant_id().clone(),
        call_sid,
        location: "a.wav".into(),
        node: NODE.into(),
    };
    store.clear_recording(&kept).await.unwrap();
    let due = store.uploads_due(NODE, bench.at(9), 10).await.unwrap();
    assert_eq!((due.len(), &due[0].tenant_id), (1, &None));
    assert_eq!(
        store
            .upload_done(&due[0], "s3://bucket/a.wav".into(), bench.at(9))
            .await,
        Ok(false)
    );
    assert_eq!(bench.event_types().await.last().unwrap(), "call.completed");
    store.delete_upload(&due[0]).await.unwrap();
    assert_eq!(store.pending_uploads(NODE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_link_opens_only_its_recording_until_it_expires() {
    let bench = Bench::new().await;
    let call_sid = CallSid::new(bench.at(0));
    let link = bench.tenant.recording_link(&call_sid, bench.at(60));
    let (tenant, opened) = bench
        .store
        .open_recording_link(&link, bench.at(59))
        .unwrap();
    assert_eq!(
        (tenant.tenant_id(), &opened),
        (bench.tenant.tenant_id(), &call_sid)
    );
    let open = |link: &str, at| bench.store.open_recording_link(link, bench.at(at)).err();
    assert_eq!(open(&link, 60), Some(LinkError::Expired));
    let other = link.replacen("acme", "acmf", 1);
    let (signed, signature) = link.rsplit_once('.').unwrap();
    let longer = format!("{signed}0.{signature}");
    for forged in [other.as_str(), &longer, signed, "", "....", "acme"] {
        assert_eq!(open(forged, 0), Some(LinkError::Forged), "{forged}");
    }
    assert!(!bench.tenant.suspended().await.unwrap());
    let nobody = bench.store.tenant(TenantId::parse("nobody").unwrap());
    assert!(nobody.suspended().await.unwrap());
}

#[tokio::test]
async fn a_recovered_recording_is_kept_only_if_the_record_of_its_call_refers_to_it() {
    let bench = Bench::new().await;
    let (store, call_sid) = recorded(&bench).await;
    let recover = async |location: &str| {
        let recording = RecordingFile {
            location: location.into(),
            duration: Duration::from_secs(2),
        };
        store
            .recover_recording(&call_sid, Some(recording), bench.at(9))
            .await
            .unwrap()
    };
    assert_eq!(recover("moved/a.wav").await, Disposition::Keep);
    assert_eq!(recover("b.wav").await, Disposition::Discard);
}
