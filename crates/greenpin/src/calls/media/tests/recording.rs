//! Recordings of a leg.

use super::*;

#[test]
fn a_recording_has_each_side_in_its_channel() {
    recorded_talk(32_140..=32_159, [Codec::Pcma, Codec::Pcmu]);
}

#[test]
fn g722_is_heard_and_recorded_between_two_g722_peers_and_with_other_codecs() {
    recorded_talk(32_600..=32_619, [Codec::G722, Codec::G722]);
    recorded_talk(32_620..=32_639, [Codec::G722, Codec::Pcma]);
    recorded_talk(32_640..=32_659, [Codec::Pcmu, Codec::G722]);
}

#[test]
fn before_the_bridge_the_right_channel_holds_our_own_audio() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.wav");
    let mut harness = MediaHarness::new(32_160..=32_179);
    let (leg, phone) = harness.pair(Codec::Pcma, Some(101));
    leg.record(file.clone(), None);
    leg.play(Arc::new(Clip::new(tone(600.0, 1000)).unwrap()), 1);
    harness.played(1);
    drop(phone);
    harness.close(leg);
    harness.recorded().unwrap();
    assert!((frequency(&channels(&file).1) - 600.0).abs() < 10.0);
}

#[test]
fn a_failed_recording_is_reported_before_the_leg_is_closed() {
    let mut harness = MediaHarness::new(32_180..=32_199);
    let leg = harness.plane.open().unwrap();
    leg.record("/no/such/folder/call.wav".into(), None);
    harness.close(leg);
    assert!(matches!(
        harness.seen.pop_front(),
        Some(MediaEvent::RecordingFinished {
            result: Err(RecordingError::Io(_)),
            ..
        })
    ));
}
