//! Common setup of call tests: a server with one number, an agent behind its trunk, and a customer.

use std::process::Stdio;

use serde_json::{Value, json};

use super::operator_api::OPERATOR;
use super::party::{Party, exchange_audio};
use super::server::{Server, trunk};
use super::webhook_inbox::WebhookInbox;

/// Virtual number.
pub const VN: &str = "+914000000001";
/// Number of the called party.
pub const AGENT: &str = "+919900000001";
/// Number of the second called party, for allocations with two.
pub const SECOND_AGENT: &str = "+919900000002";
/// Number of the caller.
pub const CUSTOMER: &str = "+918800000001";
/// Audio octet of the customer, in G.711 A-law.
pub const CUSTOMER_SAYS: u8 = 0x2a;
/// Audio octet of the agent, in G.711 A-law.
pub const AGENT_SAYS: u8 = 0x9c;

/// Server with an exclusive number, a receiver of its events, and two parties.
pub struct CallSetup {
    pub server: Server,
    pub inbox: WebhookInbox,
    pub agent: Party,
    pub customer: Party,
}

impl CallSetup {
    /// Starts a server with the default configuration.
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// Starts a server with further keys of its trunk and further configuration.
    pub fn start_with(of_trunk: &str, configuration: &str) -> Self {
        Self::start_server(of_trunk, configuration, Server::with)
    }

    /// Starts a server with the operator API and with further keys of its trunk.
    pub fn start_with_operator(of_trunk: &str) -> Self {
        Self::start_server(of_trunk, "", |configuration| {
            Server::with_operator(OPERATOR, configuration)
        })
    }

    fn start_server(
        of_trunk: &str,
        configuration: &str,
        start: impl FnOnce(&str) -> Server,
    ) -> Self {
        let mut agent = Party::unconnected(AGENT);
        let server = start(&(trunk("carrier", agent.address(), of_trunk) + configuration));
        agent.set_server(server.sip);
        let customer = Party::new(CUSTOMER, server.sip);
        server.add_number(VN, &[]);
        let inbox = WebhookInbox::open();
        server.send_events_to(&inbox.url);
        Self {
            server,
            inbox,
            agent,
            customer,
        }
    }

    /// Restarts the server with another standard error.
    pub fn restart_with_log(&mut self, log: impl Into<Stdio>) {
        self.server.restart_with_log(log);
        self.agent.set_server(self.server.sip);
        self.customer.set_server(self.server.sip);
    }

    /// Restarts the server with a limit of open files that it cannot raise.
    pub fn restart_with_open_files(&mut self, files: u64) {
        self.server.kill();
        self.server.start_again_with_open_files(files);
        self.agent.set_server(self.server.sip);
        self.customer.set_server(self.server.sip);
    }

    /// Allocates a PIN for the agent and the customer. `more` adds or replaces fields.
    pub fn allocate(&self, more: &Value) -> Value {
        let mut body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.server.allocate(&body)
    }

    /// Calls the number as the customer and enters a PIN.
    pub fn call_with(&mut self, pin: &str) {
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(pin);
    }

    /// Accepts the call as the agent and returns its INVITE.
    pub fn agent_answers(&mut self) -> String {
        let invite = self.agent.receive_invite();
        self.agent.respond(180);
        self.agent.respond(200);
        self.agent.serve("ACK");
        invite
    }

    /// Connects a call of an allocation.
    pub fn connect(&mut self, allocation: &Value) {
        self.call_with(pin_of(allocation));
        self.agent_answers();
        self.inbox.wait_for_event("call.answered");
    }

    /// Exchanges audio until both parties have received it.
    pub fn both_talk(&mut self) {
        exchange_audio(
            &mut self.customer,
            CUSTOMER_SAYS,
            &mut self.agent,
            AGENT_SAYS,
        );
    }

    /// Hangs up as the customer.
    pub fn hang_up(&mut self) {
        self.customer.bye();
        self.agent.serve("BYE");
    }

    /// Waits for `call.completed` and returns its data.
    pub fn completed(&mut self) -> Value {
        self.inbox.wait_for_event("call.completed")["data"].take()
    }
}

/// Returns the PIN of an allocation.
pub fn pin_of(allocation: &Value) -> &str {
    allocation["pin"].as_str().unwrap()
}

/// Returns the body of a request for an allocation between the agent and the customer.
pub fn allocation_body(number: &str) -> String {
    json!({ "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER] }).to_string()
}
