//! `greenpin phone`: an answering party for trials.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN, pin_of};
use crate::support::server::{Server, trunk};

/// Running phone. It is ended when this value is dropped.
struct Phone {
    process: Child,
    events: Lines<BufReader<ChildStdout>>,
}

impl Phone {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_greenpin"))
            .args(["phone", "--listen", "udp:127.0.0.1:0", "--json"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, events }
    }

    fn event(&mut self) -> Value {
        let line = self.events.next().expect("the phone runs").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_test_call_is_answered_by_the_phone() {
    for audio in [&[][..], &["--tone", "440"], &["--refuse", "486"]] {
        let mut phone = Phone::start(&[&["--calls", "1"], audio].concat());
        let listening = phone.event();
        assert_eq!(listening["event"], "listening");
        let address = listening["address"].as_str().unwrap().parse().unwrap();
        let server = Server::with(&trunk("loopback", address, "keep_alive = 0"));
        server.add_number(VN, &[]);
        let new = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        let allocation = server.allocate(&new);
        let is_refused = audio.contains(&"--refuse");
        let expected = if is_refused { "refused" } else { "connected" };
        let sip = server.sip.to_string();
        let called = server.command(&[
            "call",
            VN,
            "--from",
            CUSTOMER,
            "--pin",
            pin_of(&allocation),
            "--server",
            &sip,
            "--duration",
            "2",
            "--expect",
            expected,
        ]);
        assert!(called.status.success(), "{called:?}");
        let answered = phone.event();
        let word = if is_refused { "refused" } else { "answered" };
        assert_eq!(
            answered,
            json!({ "event": word, "called": AGENT, "from": VN })
        );
        if !is_refused {
            assert_eq!(phone.event()["event"], "hung_up");
        }
        assert!(
            phone.process.wait().unwrap().success(),
            "it ends after one call"
        );
    }
}
