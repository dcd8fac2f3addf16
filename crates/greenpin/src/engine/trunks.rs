//! Which trunk an outgoing call goes by, and which one when that fails.

use super::TrunkSettings;

/// The trunks that take calls, in the order in which a call is to try them: the lower priority number first; among equals
/// the one that brought the call, then by lot, each as likely as its weight says. `draw` gives a number below the one it
/// is given.
pub(super) fn order(
    trunks: &[TrunkSettings],
    brought_by: usize,
    mut draw: impl FnMut(u64) -> u64,
) -> Vec<usize> {
    let mut left: Vec<(usize, &TrunkSettings)> =
        trunks.iter().enumerate().filter(|(_, trunk)| trunk.peer.is_some()).collect();
    let mut order = Vec::with_capacity(left.len());
    while let Some(best) = left.iter().map(|(_, trunk)| trunk.priority).min() {
        let equals = left.iter().filter(|(_, trunk)| trunk.priority == best);
        let next = equals.clone().find(|(index, _)| *index == brought_by).map(|(index, _)| *index);
        let next = next.or_else(|| by_lot(equals.map(|(index, trunk)| (*index, trunk.weight)), &mut draw));
        let Some(next) = next else { break };
        left.retain(|(index, _)| *index != next);
        order.push(next);
    }
    order
}

fn by_lot(
    equals: impl Iterator<Item = (usize, u16)> + Clone,
    draw: &mut impl FnMut(u64) -> u64,
) -> Option<usize> {
    let total: u64 = equals.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut drawn = draw(total.max(1));
    let mut last = None;
    for (index, weight) in equals {
        last = Some(index);
        match drawn.checked_sub(weight.into()) {
            Some(rest) => drawn = rest,
            None => break,
        }
    }
    last
}

/// Whether another trunk may succeed where one answered so, before anybody was alerted: it was away, or had no room.
pub(super) fn another_may_succeed(status: u16) -> bool {
    matches!(status, 408 | 503)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NumberFormat;
    use signalling::{Peer, Transport};

    fn trunk(priority: u16, weight: u16, takes_calls: bool) -> TrunkSettings {
        let address = "192.0.2.1:5060".parse().unwrap();
        TrunkSettings {
            name: String::new(),
            peer: takes_calls.then_some(Peer { transport: Transport::Udp, address }),
            accept_from: Vec::new(),
            country: None,
            symmetric_rtp: false,
            srtp: signalling::sdes::SrtpMode::Off,
            credentials: None,
            priority,
            weight,
            number_format: NumberFormat::E164,
            prefix: String::new(),
            max_calls: None,
        }
    }

    #[test]
    fn a_lower_priority_number_goes_first_and_one_that_takes_no_calls_never() {
        let trunks = [trunk(20, 1, true), trunk(10, 1, true), trunk(5, 1, false), trunk(30, 1, true)];
        assert_eq!(order(&trunks, 2, |_| 0), [1, 0, 3]);
        assert_eq!(
            order(&trunks, 3, |_| 0),
            [1, 0, 3],
            "the one that brought the call does not jump the queue"
        );
        assert!(order(&[], 0, |_| 0).is_empty());
    }

    #[test]
    fn among_equals_the_one_that_brought_the_call_goes_first() {
        let trunks = [trunk(10, 1, true), trunk(10, 1, true), trunk(10, 1, true)];
        assert_eq!(order(&trunks, 1, |_| 0), [1, 0, 2]);
        assert_eq!(order(&trunks, 9, |most| most - 1), [2, 1, 0]);
    }

    #[test]
    fn equals_are_drawn_as_often_as_their_weights_say() {
        let trunks = [trunk(10, 3, true), trunk(10, 1, true)];
        let first: Vec<usize> = (0..4).map(|drawn| order(&trunks, 9, |most| drawn % most)[0]).collect();
        assert_eq!(first, [0, 0, 0, 1]);
    }
}
