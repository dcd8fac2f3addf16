//! What most tests of calls begin with: a server with one number, an agent at the far end of its trunk, a customer.

use serde_json::{Value, json};

use super::party::{Party, both_hear_each_other};
use super::server::{Server, trunk};
use super::webhook_inbox::Hook;

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
pub struct Stage {
    pub server: Server,
    pub hook: Hook,
    pub agent: Party,
    pub customer: Party,
}

impl Stage {
    /// With nothing beside the usual.
    pub fn set() -> Self {
        Self::set_with("", "")
    }

    /// The same with more keys of the trunk, and more of the configuration.
    pub fn set_with(of_trunk: &str, configuration: &str) -> Self {
        let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
        let server = Server::with(&(trunk("carrier", agent.address(), of_trunk) + configuration));
        agent.set_server(server.sip);
        let customer = Party::new(CUSTOMER, server.sip);
        server.add_number(VN, &[]);
        let hook = Hook::open();
        server.send_events_to(&hook.url);
        Self {
            server,
            hook,
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
        let invite = self.agent.invited();
        self.agent.respond(180);
        self.agent.respond(200);
        self.agent.served("ACK");
        invite
    }

    /// A call of an allocation on which both are connected.
    pub fn connect(&mut self, allocation: &Value) {
        self.call_with(pin_of(allocation));
        self.agent_answers();
        self.hook.event("call.answered");
    }

    /// Both talk until they have heard each other.
    pub fn both_talk(&mut self) {
        both_hear_each_other(
            &mut self.customer,
            CUSTOMER_SAYS,
            &mut self.agent,
            AGENT_SAYS,
        );
    }

    /// The customer hangs up on the agent.
    pub fn hang_up(&mut self) {
        self.customer.bye();
        self.agent.served("BYE");
    }

    /// What `call.completed` says.
    pub fn completed(&mut self) -> Value {
        self.hook.event("call.completed")["data"].take()
    }
}

/// The PIN of an allocation.
pub fn pin_of(allocation: &Value) -> &str {
    allocation["pin"].as_str().unwrap()
}
