//! Comfort noise over a whole call.

use serde_json::json;

use super::hook::Hook;
use super::party::{Party, both_hear_each_other};
use super::server::{Server, trunk};

const VN: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";

/// A call between parties that name these payload types, up to where both have heard each other; the last is what the
/// agent was offered.
fn talk(customer_speaks: &'static str, agent_speaks: &'static str) -> (Server, Party, Party, String) {
    let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
    let server = Server::with(&trunk("carrier", agent.address(), ""));
    agent.set_server(server.sip);
    agent.speak(agent_speaks);
    let mut customer = Party::new(CUSTOMER, server.sip);
    customer.speak(customer_speaks);
    server.add_number(VN, &[]);
    let mut hook = Hook::open();
    server.send_events_to(&hook.url);
    let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
    let pin = server.allocate(&body)["pin"].as_str().unwrap().to_owned();
    assert_eq!(customer.call(VN), 200);
    customer.press(&pin);
    let offered = agent.invited();
    agent.respond(200);
    agent.served("ACK");
    hook.event("call.answered");
    both_hear_each_other(&mut customer, 0x2a, &mut agent, 0x9c);
    (server, customer, agent, offered)
}

fn hang_up(mut customer: Party, mut agent: Party) {
    customer.bye();
    agent.served("BYE");
}

#[test]
fn two_who_speak_comfort_noise_are_quiet_to_each_other() {
    let (_server, mut customer, mut agent, offered) = talk("8 13", "8 13");
    assert!(offered.contains(" 8 0 13 101\r\n") && offered.contains("a=rtpmap:13 CN/8000\r\n"), "{offered}");
    assert!(customer.last.contains("RTP/AVP 8 13 97\r\n"), "{}", customer.last);
    customer.say_noise(&[60, 100, 7]);
    assert_eq!(agent.hears_packet(13, |_| true), [60, 100, 7]);
    agent.say_noise(&[50; 60]);
    assert_eq!(customer.hears_packet(13, |_| true), [50; 11]);
    hang_up(customer, agent);
}

#[test]
fn a_party_without_comfort_noise_hears_noise_made_for_it_until_the_other_speaks() {
    let (_server, mut customer, mut agent, offered) = talk("8 13", "8");
    assert!(offered.contains(" 13 "), "{offered}");
    customer.say_noise(&[20]);
    let loud = |payload: &[u8]| {
        let mut samples = [0; 160];
        media::Codec::Pcma.decode(payload, &mut samples);
        samples.windows(2).filter(|pair| pair[0] != pair[1]).count() > 100
    };
    for _ in 0..10 {
        agent.hears_packet(8, loud);
    }
    customer.say(0x4b);
    agent.hears(0x4b);
    hang_up(customer, agent);
}

#[test]
fn nobody_is_offered_comfort_noise_that_the_caller_does_not_speak() {
    let (_server, customer, agent, offered) = talk("8", "8 13");
    assert!(!offered.contains("CN/8000") && !customer.last.contains("CN/8000"), "{offered}");
    hang_up(customer, agent);
}
