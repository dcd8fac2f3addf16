//! kamailio as a carrier: it accepts our registration by digest, sends calls to our contact, and challenges our
//! calls.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::operator_api::{OPERATOR, wait_for_trunk};
use crate::support::party::{Party, exchange_audio, header};
use crate::support::ports::free_port;
use crate::support::process::send_signal;
use crate::support::server::Server;

/// Running carrier. It ends with the test.
struct Carrier {
    process: Child,
    address: SocketAddr,
}

impl Carrier {
    fn start(folder: &Path, agent: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = include_str!("../../kamailio/carrier.cfg");
        let text = text
            .replace("AGENT", &agent.to_string())
            .replace("PORT", &address.port().to_string());
        let file = folder.join("carrier.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("kamailio");
        command
            .arg("-f")
            .arg(&file)
            .arg("-Y")
            .arg(folder)
            .args(["-DD", "-E"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command
            .spawn()
            .expect("kamailio is installed: ./test does it");
        Self { process, address }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // SIGTERM lets kamailio end its children.
        if matches!(self.process.try_wait(), Ok(None)) {
            send_signal(&self.process, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

#[test]
fn a_masked_call_is_received_from_and_placed_through_a_registered_carrier() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Party::unconnected(AGENT);
    let carrier = Carrier::start(folder.path(), agent.address());
    let server = Server::with_operator(
        OPERATOR,
        &format!(
            "[[trunks]]\nname = \"carrier\"\npeer = \"sip:{}\"\nkeep_alive = 1\nregister = true\n\
             username = \"trunk-user\"\npassword = \"a fictional password\"\nrealm = \"carrier.example\"\n\
             called_from = \"to\"\n",
            carrier.address
        ),
    );
    wait_for_trunk(&server, 0, "registered", &json!(true));
    wait_for_trunk(&server, 0, "state", &json!("up"));
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, carrier.address);
    customer.invite_with(VN, true);
    // The carrier handles only the INVITE. Later requests go to our contact.
    customer.set_server(server.sip);
    assert_eq!(customer.final_response(), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.set_server(carrier.address);
    let invite = agent.receive_invite();
    assert!(
        invite.starts_with(&format!("INVITE sip:{AGENT}@{}", carrier.address)),
        "{invite}"
    );
    assert_eq!(
        header(&invite, "CSeq"),
        "2 INVITE",
        "the carrier asked, and was answered"
    );
    agent.respond(200);
    agent.set_server(server.sip);
    agent.serve("ACK");
    exchange_audio(&mut customer, 0x2a, &mut agent, 0x9c);
    customer.bye();
    agent.serve("BYE");
}
