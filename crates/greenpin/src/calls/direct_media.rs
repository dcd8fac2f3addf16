//! State machine for direct media: it decides when the gateways of two carriers exchange media without the server, and
//! when the server takes the media back. It contains no SIP.

use call::Side;
use signalling::sdp::RemoteMedia;

/// Maximum number of attempts per call. A peer that changes its media after every attempt stays relayed in the end.
pub const MAX_DIRECT_ATTEMPTS: u8 = 8;

/// Properties of a call that decide between relayed and direct media.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaFacts {
    /// Both trunks allow direct media and accept RTP only from the address in the SDP.
    pub(super) allowed: bool,
    /// Both parties are connected, and the call is not ending.
    pub(super) bridged: bool,
    /// The server needs the audio for a recording, a warning tone, or keys sent by SIP INFO.
    pub(super) needed: bool,
    /// Negotiated media of caller and callee, once both are known.
    pub(super) media: Option<(RemoteMedia, RemoteMedia)>,
}

impl MediaFacts {
    /// Returns `true` if the gateways can exchange media directly: unencrypted, the same codec, telephone-events on
    /// both sides, no payload type with two meanings, and no hold.
    fn allows_direct(self) -> bool {
        let eligible = |media: RemoteMedia| {
            media.send && media.receive && media.crypto.is_none() && media.telephone_event.is_some()
        };
        self.allowed
            && self.bridged
            && !self.needed
            && self.media.is_some_and(|(caller, callee)| {
                let compatible =
                    caller.codec == callee.codec && caller.rtp.is_ipv4() == callee.rtp.is_ipv4();
                // A payload type must keep its meaning within a session (RFC 3264, section 8.3.2).
                let keeps_meaning = |own: RemoteMedia, other: RemoteMedia| {
                    own.telephone_event
                        .is_none_or(|event| event.payload_type != other.payload_type)
                };
                eligible(caller)
                    && eligible(callee)
                    && compatible
                    && keeps_meaning(caller, callee)
                    && keeps_meaning(callee, caller)
            })
    }
}

/// Destination of a gateway's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaPath {
    /// The server.
    Relayed,
    /// The server; a re-INVITE to send to the other gateway is pending.
    Releasing,
    /// The other gateway.
    Direct,
    /// The other gateway; a re-INVITE to send to the server again is pending.
    Reclaiming,
}

/// Next step for the caller of [`DirectMedia::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedirectStep {
    /// Ask this side's gateway to send to the other gateway.
    Release(Side),
    /// Ask this side's gateway to send to the server again.
    Reclaim(Side),
    /// End the call, because a gateway refused to return its media to the server.
    EndCall,
}

/// Media paths of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirectMedia {
    caller: MediaPath,
    callee: MediaPath,
    /// Direct media is in use, or being set up.
    active: bool,
    /// A gateway refused, so the call makes no further attempt.
    refused: bool,
    /// A gateway refused to return its media to the server.
    reclaim_failed: bool,
    attempts: u8,
    /// Both gateways have exchanged media directly at least once.
    was_direct: bool,
}

impl DirectMedia {
    /// Creates the state of a call with relayed media.
    pub(super) fn new() -> Self {
        let (caller, callee) = (MediaPath::Relayed, MediaPath::Relayed);
        Self {
            caller,
            callee,
            active: false,
            refused: false,
            reclaim_failed: false,
            attempts: 0,
            was_direct: false,
        }
    }

    /// Returns `true` if media may bypass the server. Missing RTP is then no sign of a dead leg.
    pub(super) fn may_bypass_server(&self) -> bool {
        (self.caller, self.callee) != (MediaPath::Relayed, MediaPath::Relayed)
    }

    /// Returns `true` if both gateways have exchanged media directly at least once.
    pub(super) fn was_direct(&self) -> bool {
        self.was_direct
    }

    /// Returns the next step for the present facts. The caller repeats this until it returns `None`.
    pub(super) fn step(&mut self, facts: MediaFacts) -> Option<RedirectStep> {
        if self.reclaim_failed {
            return std::mem::take(&mut self.reclaim_failed).then_some(RedirectStep::EndCall);
        }
        self.active = !self.refused && facts.allows_direct() && (self.active || self.may_start());
        if self.active && !self.may_bypass_server() {
            self.attempts = self.attempts.saturating_add(1);
        }
        let side = match (self.active, self.caller, self.callee) {
            (true, MediaPath::Relayed, _) | (false, MediaPath::Direct, _) => Side::Caller,
            (true, MediaPath::Direct, MediaPath::Relayed) | (false, _, MediaPath::Direct) => {
                Side::Callee
            }
            _ => return None,
        };
        let active = self.active;
        *self.path_mut(side) = if active {
            MediaPath::Releasing
        } else {
            MediaPath::Reclaiming
        };
        Some(if active {
            RedirectStep::Release(side)
        } else {
            RedirectStep::Reclaim(side)
        })
    }

    fn may_start(&self) -> bool {
        !self.may_bypass_server() && self.attempts < MAX_DIRECT_ATTEMPTS
    }

    /// Handles a gateway's acceptance of the pending re-INVITE.
    pub(super) fn on_accepted(&mut self, side: Side) {
        let path = self.path_mut(side);
        *path = match *path {
            MediaPath::Releasing | MediaPath::Direct => MediaPath::Direct,
            MediaPath::Reclaiming | MediaPath::Relayed => MediaPath::Relayed,
        };
        self.was_direct |= (self.caller, self.callee) == (MediaPath::Direct, MediaPath::Direct);
    }

    /// Handles a gateway's refusal of the pending re-INVITE.
    pub(super) fn on_refused(&mut self, side: Side) {
        self.refused = true;
        let path = self.path_mut(side);
        match *path {
            MediaPath::Releasing => *path = MediaPath::Relayed,
            MediaPath::Reclaiming => self.reclaim_failed = true,
            MediaPath::Relayed | MediaPath::Direct => {}
        }
    }

    /// Handles a gateway whose media address differs from the address given to the other gateway. Both return to the
    /// server and stay there.
    pub(super) fn address_changed(&mut self) {
        self.refused = true;
    }

    /// Handles a change of media by the gateway itself, such as hold or a new address. The answer named the server's
    /// address, so this gateway sends to the server now. The other gateway returns before the next attempt.
    pub(super) fn on_changed(&mut self, side: Side) {
        let path = self.path_mut(side);
        if *path == MediaPath::Direct {
            *path = MediaPath::Relayed;
        }
        self.active = false;
    }

    fn path_mut(&mut self, side: Side) -> &mut MediaPath {
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
            offered_telephone_event: None,
            send: true,
            receive: true,
        }
    }

    fn facts() -> MediaFacts {
        MediaFacts {
            allowed: true,
            bridged: true,
            needed: false,
            media: Some((media(), media())),
        }
    }

    fn needed() -> MediaFacts {
        MediaFacts {
            needed: true,
            ..facts()
        }
    }

    /// A call with direct media.
    fn direct() -> DirectMedia {
        let mut direct = DirectMedia::new();
        for side in [Side::Caller, Side::Callee] {
            assert_eq!(direct.step(facts()), Some(RedirectStep::Release(side)));
            assert_eq!(direct.step(facts()), None, "one re-INVITE at a time");
            direct.on_accepted(side);
        }
        assert_eq!(direct.step(facts()), None);
        assert!(direct.may_bypass_server() && direct.was_direct());
        direct
    }

    #[test]
    fn both_gateways_return_while_the_server_needs_the_audio() {
        let mut direct = direct();
        assert_eq!(
            direct.step(needed()),
            Some(RedirectStep::Reclaim(Side::Caller))
        );
        assert_eq!(
            direct.step(needed()),
            Some(RedirectStep::Reclaim(Side::Callee))
        );
        direct.on_accepted(Side::Callee);
        assert_eq!(direct.step(facts()), None, "the caller is not relayed yet");
        direct.on_accepted(Side::Caller);
        assert!(!direct.may_bypass_server());
        assert_eq!(
            direct.step(facts()),
            Some(RedirectStep::Release(Side::Caller))
        );
    }

    #[test]
    fn media_that_does_not_fit_stays_relayed() {
        let with = |change: fn(&mut RemoteMedia)| {
            let mut other = media();
            change(&mut other);
            [(media(), other), (other, media())].map(|both| MediaFacts {
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
                MediaFacts {
                    allowed: false,
                    ..facts()
                },
                MediaFacts {
                    bridged: false,
                    ..facts()
                },
            ],
            [
                needed(),
                MediaFacts {
                    media: None,
                    ..facts()
                },
            ],
        ];
        for facts in unfit.into_iter().flatten() {
            assert_eq!(DirectMedia::new().step(facts), None, "{facts:?}");
        }
    }

    #[test]
    fn a_refusal_returns_the_other_gateway_and_ends_all_attempts() {
        let mut first = DirectMedia::new();
        assert_eq!(
            first.step(facts()),
            Some(RedirectStep::Release(Side::Caller))
        );
        first.on_refused(Side::Caller);
        assert_eq!(
            (first.step(facts()), first.may_bypass_server()),
            (None, false)
        );
        let mut second = DirectMedia::new();
        second.step(facts());
        second.on_accepted(Side::Caller);
        assert_eq!(
            second.step(facts()),
            Some(RedirectStep::Release(Side::Callee))
        );
        second.on_refused(Side::Callee);
        assert_eq!(
            second.step(facts()),
            Some(RedirectStep::Reclaim(Side::Caller))
        );
        second.on_accepted(Side::Caller);
        assert_eq!(
            (
                second.step(facts()),
                second.may_bypass_server(),
                second.was_direct()
            ),
            (None, false, false)
        );
    }

    #[test]
    fn a_refused_return_ends_the_call_once() {
        let mut direct = direct();
        direct.step(needed());
        direct.on_refused(Side::Caller);
        assert_eq!(direct.step(needed()), Some(RedirectStep::EndCall));
        assert_ne!(direct.step(needed()), Some(RedirectStep::EndCall));
    }

    #[test]
    fn a_change_by_one_gateway_returns_the_other_before_the_next_attempt() {
        let mut direct = direct();
        direct.on_changed(Side::Callee);
        assert_eq!(
            direct.step(facts()),
            Some(RedirectStep::Reclaim(Side::Caller))
        );
        direct.on_accepted(Side::Caller);
        assert_eq!(
            direct.step(facts()),
            Some(RedirectStep::Release(Side::Caller))
        );
    }

    #[test]
    fn a_peer_that_changes_its_media_every_time_stays_relayed_in_the_end() {
        let mut direct = DirectMedia::new();
        let mut sent = 0;
        for _ in 0..50 {
            while let Some(step) = direct.step(facts()) {
                let (RedirectStep::Release(side) | RedirectStep::Reclaim(side)) = step else {
                    panic!("given up")
                };
                sent += usize::from(matches!(step, RedirectStep::Release(_)));
                direct.on_accepted(side);
            }
            direct.on_changed(Side::Callee);
        }
        assert_eq!(sent, 2 * usize::from(MAX_DIRECT_ATTEMPTS));
        assert!(!direct.may_bypass_server() || direct.step(facts()).is_some());
    }

    #[test]
    fn a_changed_address_returns_both_gateways() {
        let mut direct = direct();
        direct.address_changed();
        assert_eq!(
            direct.step(facts()),
            Some(RedirectStep::Reclaim(Side::Caller))
        );
        assert_eq!(
            direct.step(facts()),
            Some(RedirectStep::Reclaim(Side::Callee))
        );
    }
}
