//! What most tests of calls begin with: a server with one number, an agent at the far end of its trunk, a customer.

use serde_json::{Value, json};

use super::party::{Party, exchange_audio};
use super::server::{Server, trunk};
use super::webhook_inbox::WebhookInbox;

/// The virtual number.
pub const VN: &str = "+914000000001";
/// Whom the customer reaches.
pub const AGENT: &str = "+919900000001";
/// Whom the customer reaches next, where an allocation names two.
pub const SECOND_AGENT: &str = "+919900000002";
/// Who calls.
pub const CUSTOMER: &str = "+918800000001";
/// G.711 A-law octets that are easy to tell apart.
pub const CUSTOMER_SAYS: u8 = 0x2a;
/// What the agent is heard by.
pub const AGENT_SAYS: u8 = 0x9c;

/// A server whose number is exclusive, its events, and two parties.
pub struct CallSetup {
    pub server: Server,
    pub inbox: WebhookInbox,
    pub agent: Party,
    pub customer: Party,
}

impl CallSetup {
    /// With nothing beside the usual.
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// The same with more keys of the trunk, and more of the configuration.
    pub fn start_with(of_trunk: &str, configuration: &str) -> Self {
        let mut agent = Party::unconnected(AGENT);
        let server = Server::with(&(trunk("carrier", agent.address(), of_trunk) + configuration));
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

    /// An allocation from the agent to the customer, with more fields or others.
    pub fn allocate(&self, more: &Value) -> Value {
        let mut body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.server.allocate(&body)
    }

    /// A customer who was answered and keyed in a PIN.
    pub fn call_with(&mut self, pin: &str) {
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(pin);
    }

    /// The agent takes the call; gives its INVITE.
    pub fn agent_answers(&mut self) -> String {
        let invite = self.agent.receive_invite();
        self.agent.respond(180);
        self.agent.respond(200);
        self.agent.serve("ACK");
        invite
    }

    /// A call of an allocation on which both are connected.
    pub fn connect(&mut self, allocation: &Value) {
        self.call_with(pin_of(allocation));
        self.agent_answers();
        self.inbox.wait_for_event("call.answered");
    }

    /// Both talk until they have heard each other.
    pub fn both_talk(&mut self) {
        exchange_audio(
            &mut self.customer,
            CUSTOMER_SAYS,
            &mut self.agent,
            AGENT_SAYS,
        );
    }

    /// The customer hangs up on the agent.
    pub fn hang_up(&mut self) {
        self.customer.bye();
        self.agent.serve("BYE");
    }

    /// What `call.completed` says.
    pub fn completed(&mut self) -> Value {
        self.inbox.wait_for_event("call.completed")["data"].take()
    }
}

/// The PIN of an allocation.
pub fn pin_of(allocation: &Value) -> &str {
    allocation["pin"].as_str().unwrap()
}

/// Returns the body of a request for an allocation between the agent and the customer.
pub fn allocation_body(number: &str) -> String {
    json!({ "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER] }).to_string()
}
