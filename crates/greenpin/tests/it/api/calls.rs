//! `GET /calls`, contract section 1.3. The calls are written through the store, as the engine writes them.

use std::time::Duration;

use call::{DialStatus, PhoneNumber};
use greenpin::numbering::TrunkCaller;
use greenpin::store::{
    CallCause, CallEnding, CallLegs, CallSid, CallType, HangupBy, NewCall, RecordingFile, Store,
    Timestamp,
};
use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::http_client::{basic, call, raw, request};
use crate::support::server::{SID, Server, TOKEN};

const NUMBER: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const STRANGER: &str = "+917700000001";

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

/// Writes three calls, one minute apart: connected, never dialled, and in progress.
async fn three_calls(store: &Store, first: Timestamp) -> Vec<String> {
    let mut sids = Vec::new();
    for (index, (vn, caller)) in [(NUMBER, CUSTOMER), (SHARED, STRANGER), (NUMBER, STRANGER)]
        .iter()
        .enumerate()
    {
        let started_at = first + Duration::from_secs(60 * u64::try_from(index).unwrap());
        let call_sid = CallSid::new(started_at);
        sids.push(call_sid.to_string());
        let new = NewCall {
            call_sid: call_sid.clone(),
            virtual_number: number(vn),
            caller: Some(number(caller)).into(),
            trunk: "carrier".into(),
            node: "elsewhere".into(),
            started_at,
        };
        store.begin_call(new).await.unwrap();
        if index < 2 {
            store
                .end_call(&call_sid, ending(index == 0, started_at))
                .await
                .unwrap();
        }
    }
    sids
}

fn ending(talked: bool, started_at: Timestamp) -> CallEnding {
    let at = |seconds| Some(started_at + Duration::from_secs(seconds)).filter(|_| talked);
    CallEnding {
        ended_at: started_at + Duration::from_secs(30),
        answered_at: Some(started_at),
        dialled: talked.then(|| number(AGENT)),
        dialled_at: at(5),
        bridged_at: at(10),
        cause: CallCause::Completed,
        legs: CallLegs::default(),
        call_type: if talked {
            CallType::Completed
        } else {
            CallType::CallAttempt
        },
        dial_call_status: talked.then_some(DialStatus::Completed),
        hangup_by: HangupBy::Caller,
        sip_cause: None,
        pin_attempts: 1,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
}

/// Writes a call, with a recording of some bytes if there are any.
async fn call_with_recording(server: &Server, octets: Option<&[u8]>) -> String {
    let (store, started_at) = (server.store(), Timestamp::now());
    let call_sid = CallSid::new(started_at);
    let new = NewCall {
        call_sid: call_sid.clone(),
        virtual_number: number(NUMBER),
        caller: TrunkCaller::default(),
        trunk: "carrier".into(),
        node: "elsewhere".into(),
        started_at,
    };
    store.begin_call(new).await.unwrap();
    let path = server.database().with_file_name(format!("{call_sid}.wav"));
    let recording = octets.map(|octets| {
        std::fs::write(&path, octets).unwrap();
        RecordingFile {
            location: path.display().to_string(),
            duration: Duration::from_secs(1),
        }
    });
    store
        .end_call(
            &call_sid,
            CallEnding {
                recording,
                ..ending(false, started_at)
            },
        )
        .await
        .unwrap();
    call_sid.to_string()
}

/// Returns the ids of a page, and the cursor of the next one.
fn list_calls(server: &Server, query: &str) -> (Vec<String>, Option<String>) {
    let (status, body) = server.request("GET", &format!("/calls{query}"), None);
    assert_eq!(status, 200, "{body}");
    let ids = body["response"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["call_sid"].as_str().unwrap().to_owned());
    (
        ids.collect(),
        body["next_cursor"].as_str().map(str::to_owned),
    )
}

#[test]
fn calls_are_listed_newest_first_and_narrowed_by_each_filter() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    server.add_number(SHARED, &["--mode", "shared"]);
    assert_eq!(list_calls(&server, ""), (Vec::new(), None));
    let body = json!({ "caller_id_number": NUMBER, "from": [AGENT], "to": [CUSTOMER], "duration": 86_400 });
    let made = server.allocate(&body);
    let first = Timestamp::now().whole_seconds();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sids = runtime.block_on(three_calls(&server.store(), first));
    let [one, two, three] = [&sids[0], &sids[1], &sids[2]];
    let time = |seconds| {
        (first + Duration::from_secs(seconds))
            .rfc3339(&jiff::tz::TimeZone::UTC)
            .replace('+', "%2B")
    };
    let id = made["greenpin_id"].as_str().unwrap();
    for (query, expected) in [
        (String::new(), vec![three, two, one]),
        ("?status=active".into(), vec![three]),
        ("?status=ended".into(), vec![two, one]),
        ("?call_type=completed".into(), vec![one]),
        ("?call_type=call-attempt".into(), vec![two]),
        ("?call_type=incomplete".into(), vec![]),
        ("?call_type=client-hangup&status=ended".into(), vec![]),
        (format!("?virtual_number=%2B{}", &SHARED[1..]), vec![two]),
        (format!("?party=%2B{}", &STRANGER[1..]), vec![three, two]),
        (format!("?party=%2B{}", &AGENT[1..]), vec![one]),
        (format!("?greenpin_id={id}"), vec![three, one]),
        (
            format!("?greenpin_id={id}&party=%2B{}", &STRANGER[1..]),
            vec![three],
        ),
        ("?greenpin_id=gp_00000000000000000000000000".into(), vec![]),
        (format!("?started_after={}", time(60)), vec![three, two]),
        (format!("?started_before={}", time(60)), vec![one]),
        (
            format!("?started_after={}&started_before={}", time(30), time(90)),
            vec![two],
        ),
    ] {
        let (found, next) = list_calls(&server, &query);
        assert_eq!(
            (found.iter().collect::<Vec<_>>(), next),
            (expected, None),
            "{query}"
        );
    }
    let (page, next) = list_calls(&server, "?limit=2");
    assert_eq!(
        (page, next.as_ref()),
        (vec![three.clone(), two.clone()], Some(two))
    );
    let (page, next) = list_calls(&server, &format!("?limit=2&cursor={}", next.unwrap()));
    assert_eq!((page, next), (vec![one.clone()], None));
    let (_, body) = server.request("GET", "/calls?status=active", None);
    assert_eq!(body["response"][0], server.get(&format!("/calls/{three}")));
    assert_eq!(body["response"][0]["end_time"], Value::Null);
}

#[test]
fn a_malformed_query_of_calls_is_400_with_its_field() {
    let server = Server::with("");
    for query in [
        "status=over",
        "call_type=talked",
        "virtual_number=4000",
        "greenpin_id=x",
        "party=+918800000001",
        "started_after=yesterday",
        "started_before=2026",
        "limit=201",
        "cursor=evt_x",
    ] {
        let response = call(server.http, "GET", &format!("/calls?{query}"));
        let field = query.split('=').next().unwrap();
        assert_eq!(
            (response.status, response.faults()),
            (400, vec![(field, "invalid_value")])
        );
    }
    for query in ["page=1", "limit=1&limit=2"] {
        let response = call(server.http, "GET", &format!("/calls?{query}"));
        assert_eq!((response.status, response.code()), (400, "invalid_request"));
    }
    assert_eq!(call(server.http, "DELETE", "/calls").status, 405);
}

/// Checks conditional requests and HEAD for a recording of 200 bytes.
fn check_conditions(server: &Server, path: &str) {
    let send = |method: &str, lines: &str| {
        let headers = format!("{}{lines}", basic(SID, TOKEN));
        raw(server.http, &request(method, path, &headers, b""))
    };
    let whole = send("GET", "");
    let [etag, modified] = ["etag", "last-modified"].map(|name| whole.header(name).unwrap());
    for (condition, status) in [
        (format!("if-none-match: {etag}"), 304),
        ("if-none-match: \"other\"".to_owned(), 200),
        (format!("if-modified-since: {modified}"), 304),
        (
            "if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(),
            200,
        ),
        (format!("range: bytes=0-9\r\nif-range: {etag}"), 206),
        (format!("range: bytes=0-9\r\nif-range: {modified}"), 206),
        ("range: bytes=0-9\r\nif-range: \"other\"".to_owned(), 200),
        ("range: bytes=900-\r\nif-range: \"other\"".to_owned(), 200),
    ] {
        let response = send("GET", &format!("{condition}\r\n"));
        let found = (response.status, response.header("etag"));
        assert_eq!(found, (status, Some(etag)), "{condition}");
    }
    let head = send("HEAD", "range: bytes=0-9\r\n");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("200"))
    );
    assert_eq!(
        (head.header("etag"), head.header("content-range")),
        (Some(etag), None)
    );
}

#[test]
fn a_recording_is_returned_whole_or_by_range() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let octets: Vec<u8> = (0..200).map(|index| b'a' + index % 26).collect();
    let sid = runtime.block_on(call_with_recording(&server, Some(&octets)));
    assert_eq!(server.recording(&sid), octets);
    let part = |range: &str| {
        let headers = format!("{}range: {range}\r\n", basic(SID, TOKEN));
        raw(
            server.http,
            &request(
                "GET",
                &format!("/v1/tenants/acme/calls/{sid}/recording"),
                &headers,
                b"",
            ),
        )
    };
    for (range, status, content) in [
        ("bytes=0-9", 206, "bytes 0-9/200"),
        ("bytes=190-", 206, "bytes 190-199/200"),
        ("bytes=-5", 206, "bytes 195-199/200"),
        ("bytes=200-", 416, "bytes */200"),
    ] {
        let response = part(range);
        assert_eq!(
            (response.status, response.header("content-range")),
            (status, Some(content)),
            "{range}"
        );
    }
    assert_eq!(part("bytes=200-").code(), "range_not_satisfiable");
    check_conditions(&server, &format!("/v1/tenants/acme/calls/{sid}/recording"));
    assert_eq!(part("lines=1-2").status, 200, "an unknown unit is ignored");
    let silent = runtime.block_on(call_with_recording(&server, None));
    for sid in [
        silent.as_str(),
        "call_00000000000000000000000000",
        "nonsense",
    ] {
        let response = call(server.http, "GET", &format!("/calls/{sid}/recording"));
        assert_eq!((response.status, response.code()), (404, "not_found"));
    }
}
