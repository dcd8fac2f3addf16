//! Calls written to the store of a server without a telephone.

use std::path::PathBuf;
use std::time::Duration;

use call::PhoneNumber;
use greenpin::numbering::TrunkCaller;
use greenpin::store::{
    CallCause, CallEnding, CallLegs, CallSid, CallType, HangupBy, NewCall, RecordingFile, Timestamp,
};

use super::server::Server;

/// Writes a completed call with a recording. Returns its id and the file.
pub async fn store_recorded_call(
    server: &Server,
    virtual_number: &str,
    started_at: Timestamp,
) -> (CallSid, PathBuf) {
    let store = server.store();
    let call_sid = CallSid::new(started_at);
    let new = NewCall {
        call_sid: call_sid.clone(),
        virtual_number: PhoneNumber::parse(virtual_number).unwrap(),
        caller: TrunkCaller::default(),
        trunk: "carrier".into(),
        node: "elsewhere".into(),
        started_at,
    };
    store.begin_call(new).await.unwrap();
    let path = server.database().with_file_name("recorded.wav");
    std::fs::write(&path, b"RIFF").unwrap();
    let ending = CallEnding {
        ended_at: started_at,
        answered_at: None,
        dialled: None,
        dialled_at: None,
        bridged_at: None,
        call_type: CallType::CallAttempt,
        cause: CallCause::Completed,
        legs: CallLegs::default(),
        dial_call_status: None,
        hangup_by: HangupBy::Caller,
        sip_cause: None,
        pin_attempts: 0,
        recording: Some(RecordingFile {
            location: path.display().to_string(),
            duration: Duration::from_secs(1),
        }),
        caller_media: None,
        callee_media: None,
    };
    store.end_call(&call_sid, ending).await.unwrap();
    (call_sid, path)
}
