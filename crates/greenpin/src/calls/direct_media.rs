//! When the two carriers' gateways may talk to each other, and when their audio comes back to us: decided here, without
//! knowing of SIP.

use call::Side;
use signalling::sdp::RemoteMedia;

/// How often a call may go direct: a peer that changes its audio each time it does stays with us in the end.
const MOST_TURNS: u8 = 8;

/// What a call is like, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Both trunks allow it, and take audio from the address in the SDP alone.
    pub(super) allowed: bool,
    /// Both parties are connected, and the call goes on.
    pub(super) bridged: bool,
    /// We need the audio: a recording, a tone, keys that come another way.
    pub(super) needed: bool,
    /// The caller's audio and the callee's, once both are known.
    pub(super) media: Option<(RemoteMedia, RemoteMedia)>,
}

impl Facts {
    /// Whether the two could talk without us: in clear, one codec, keys as telephone-events, no number of a format with
    /// two meanings, nobody on hold.
    fn fit(self) -> bool {
        let alone = |media: RemoteMedia| {
            media.send && media.receive && media.crypto.is_none() && media.telephone_event.is_some()
        };
        self.allowed
            && self.bridged
            && !self.needed
            && self.media.is_some_and(|(caller, callee)| {
                let alike =
                    caller.codec == callee.codec && caller.rtp.is_ipv4() == callee.rtp.is_ipv4();
                // What a number stands for must not change within a call (RFC 3264, section 8.3.2).
                let keeps = |own: RemoteMedia, other: RemoteMedia| {
                    own.telephone_event
                        .is_none_or(|event| event.payload_type != other.payload_type)
                };
                alone(caller)
                    && alone(callee)
                    && alike
                    && keeps(caller, callee)
                    && keeps(callee, caller)
            })
    }
}

/// Where a leg's gateway sends its audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To us.
    Here,
    /// To us, and it was asked to send to the other.
    Leaving,
    /// To the other.
    There,
    /// To the other, and it was asked to send to us again.
    Returning,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this side's gateway to send to the other's.
    Send(Side),
    /// Ask this side's gateway to send to us again.
    Return(Side),
    /// It does not come back: the call cannot go on.
    GiveUp,
}

/// The way of one call's audio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direct {
    caller: Place,
    callee: Place,
    /// On the way to be direct, or so.
    wanted: bool,
    /// A gateway would not: never again on this call.
    refused: bool,
    /// A gateway did not come back.
    lost: bool,
    turns: u8,
    /// Both have sent to each other at some time.
    was_direct: bool,
}

impl Direct {
    /// A call whose audio goes through us.
    pub(super) fn new() -> Self {
        let (caller, callee) = (Place::Here, Place::Here);
        Self {
            caller,
            callee,
            wanted: false,
            refused: false,
            lost: false,
            turns: 0,
            was_direct: false,
        }
    }

    /// Some audio may go past us: silence says nothing.
    pub(super) fn is_away(&self) -> bool {
        (self.caller, self.callee) != (Place::Here, Place::Here)
    }

    /// The two have sent to each other at some time.
    pub(super) fn was_direct(&self) -> bool {
        self.was_direct
    }

    /// The next thing to do, given what the call is like now. To be asked until there is none.
    pub(super) fn step(&mut self, facts: Facts) -> Option<Step> {
        if self.lost {
            return std::mem::take(&mut self.lost).then_some(Step::GiveUp);
        }
        self.wanted = !self.refused && facts.fit() && (self.wanted || self.may_begin());
        if self.wanted && !self.is_away() {
            self.turns = self.turns.saturating_add(1);
        }
        let side = match (self.wanted, self.caller, self.callee) {
            (true, Place::Here, _) | (false, Place::There, _) => Side::Caller,
            (true, Place::There, Place::Here) | (false, _, Place::There) => Side::Callee,
            _ => return None,
        };
        let wanted = self.wanted;
        *self.place(side) = if wanted {
            Place::Leaving
        } else {
            Place::Returning
        };
        Some(if wanted {
            Step::Send(side)
        } else {
            Step::Return(side)
        })
    }

    fn may_begin(&self) -> bool {
        !self.is_away() && self.turns < MOST_TURNS
    }

    /// A gateway does what it was asked for.
    pub(super) fn accepted(&mut self, side: Side) {
        let place = self.place(side);
        *place = match *place {
            Place::Leaving | Place::There => Place::There,
            Place::Returning | Place::Here => Place::Here,
        };
        self.was_direct |= (self.caller, self.callee) == (Place::There, Place::There);
    }

    /// A gateway refused what it was asked for.
    pub(super) fn refused(&mut self, side: Side) {
        self.refused = true;
        let place = self.place(side);
        match *place {
            Place::Leaving => *place = Place::Here,
            Place::Returning => self.lost = true,
            Place::Here | Place::There => {}
        }
    }

    /// A gateway is not where the other was told that it is: both come back, and stay.
    pub(super) fn misled(&mut self) {
        self.refused = true;
    }

    /// A gateway changed its audio by itself (hold, another address), and was answered with ours: it sends to us now. The
    /// other one comes back before they part again.
    pub(super) fn changed(&mut self, side: Side) {
        let place = self.place(side);
        if *place == Place::There {
            *place = Place::Here;
        }
        self.wanted = false;
    }

    fn place(&mut self, side: Side) -> &mut Place {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}

#[cfg(test)]
mod tests {
    use signalling::sdp::{Codec, OpusParameters, TelephoneEventFormat};

    use super::*;

    fn media() -> RemoteMedia {
        RemoteMedia {
            rtp: "192.0.2.1:4000".parse().unwrap(),
            rtcp: None,
            codec: Codec::Pcma,
            payload_type: 8,
            opus: OpusParameters::default(),
            crypto: None,
            comfort_noise: false,
            telephone_event: Some(TelephoneEventFormat {
                payload_type: 97,
                rate: 8000,
            }),
            send: true,
            receive: true,
        }
    }

    fn facts() -> Facts {
        Facts {
            allowed: true,
            bridged: true,
            needed: false,
            media: Some((media(), media())),
        }
    }

    fn needed() -> Facts {
        Facts {
            needed: true,
            ..facts()
        }
    }

    /// A call whose gateways talk to each other.
    fn direct() -> Direct {
        let mut direct = Direct::new();
        for side in [Side::Caller, Side::Callee] {
            assert_eq!(direct.step(facts()), Some(Step::Send(side)));
            assert_eq!(direct.step(facts()), None, "one after the other");
            direct.accepted(side);
        }
        assert_eq!(direct.step(facts()), None);
        assert!(direct.is_away() && direct.was_direct());
        direct
    }

    #[test]
    fn both_come_back_when_the_audio_is_needed_and_part_again_when_it_is_not() {
        let mut direct = direct();
        assert_eq!(direct.step(needed()), Some(Step::Return(Side::Caller)));
        assert_eq!(direct.step(needed()), Some(Step::Return(Side::Callee)));
        direct.accepted(Side::Callee);
        assert_eq!(direct.step(facts()), None, "the caller is not back yet");
        direct.accepted(Side::Caller);
        assert!(!direct.is_away());
        assert_eq!(direct.step(facts()), Some(Step::Send(Side::Caller)));
    }

    #[test]
    fn nothing_goes_direct_that_does_not_fit() {
        let with = |change: fn(&mut RemoteMedia)| {
            let mut other = media();
            change(&mut other);
            [(media(), other), (other, media())].map(|both| Facts {
                media: Some(both),
                ..facts()
            })
        };
        let unfit = [
            with(|media| media.codec = Codec::Pcmu),
            with(|media| media.telephone_event = None),
            with(|media| {
                media.telephone_event = Some(TelephoneEventFormat {
                    payload_type: 8,
                    rate: 8000,
                })
            }),
            with(|media| media.send = false),
            with(|media| media.receive = false),
            with(|media| media.rtp = "[2001:db8::1]:4000".parse().unwrap()),
            [
                Facts {
                    allowed: false,
                    ..facts()
                },
                Facts {
                    bridged: false,
                    ..facts()
                },
            ],
            [
                needed(),
                Facts {
                    media: None,
                    ..facts()
                },
            ],
        ];
        for facts in unfit.into_iter().flatten() {
            assert_eq!(Direct::new().step(facts), None, "{facts:?}");
        }
    }

    #[test]
    fn a_refusal_brings_the_other_back_for_good() {
        let mut first = Direct::new();
        assert_eq!(first.step(facts()), Some(Step::Send(Side::Caller)));
        first.refused(Side::Caller);
        assert_eq!((first.step(facts()), first.is_away()), (None, false));
        let mut second = Direct::new();
        second.step(facts());
        second.accepted(Side::Caller);
        assert_eq!(second.step(facts()), Some(Step::Send(Side::Callee)));
        second.refused(Side::Callee);
        assert_eq!(second.step(facts()), Some(Step::Return(Side::Caller)));
        second.accepted(Side::Caller);
        assert_eq!(
            (second.step(facts()), second.is_away(), second.was_direct()),
            (None, false, false)
        );
    }

    #[test]
    fn one_that_does_not_come_back_ends_the_call_once() {
        let mut direct = direct();
        direct.step(needed());
        direct.refused(Side::Caller);
        assert_eq!(direct.step(needed()), Some(Step::GiveUp));
        assert_ne!(direct.step(needed()), Some(Step::GiveUp));
    }

    #[test]
    fn a_change_of_one_brings_the_other_back_before_they_part_again() {
        let mut direct = direct();
        direct.changed(Side::Callee);
        assert_eq!(direct.step(facts()), Some(Step::Return(Side::Caller)));
        direct.accepted(Side::Caller);
        assert_eq!(direct.step(facts()), Some(Step::Send(Side::Caller)));
    }

    #[test]
    fn a_peer_that_changes_its_audio_each_time_stays_with_us_in_the_end() {
        let mut direct = Direct::new();
        let mut sent = 0;
        for _ in 0..50 {
            while let Some(step) = direct.step(facts()) {
                let (Step::Send(side) | Step::Return(side)) = step else {
                    panic!("given up")
                };
                sent += usize::from(matches!(step, Step::Send(_)));
                direct.accepted(side);
            }
            direct.changed(Side::Callee);
        }
        assert_eq!(sent, 2 * usize::from(MOST_TURNS));
        assert!(!direct.is_away() || direct.step(facts()).is_some());
    }

    #[test]
    fn a_gateway_that_is_elsewhere_than_the_other_was_told_brings_both_back() {
        let mut direct = direct();
        direct.misled();
        assert_eq!(direct.step(facts()), Some(Step::Return(Side::Caller)));
        assert_eq!(direct.step(facts()), Some(Step::Return(Side::Callee)));
    }
}
