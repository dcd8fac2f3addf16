//! Events of an endpoint.

use std::net::IpAddr;

use super::reason::PeerReason;
use crate::identity::{CallerIdentity, PresentedNumber};
use crate::sdp::RemoteMedia;

/// Identifier of a leg: one SIP dialog of the endpoint, from its INVITE on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

/// Event on a leg or a trunk. After `Failed` or `HungUp` the leg no longer exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A trunk sends a call. Answer it, reject it, or hang up.
    IncomingCall(IncomingCall),
    /// The caller acknowledged the answer with its tag, 64 random bits that only the receiver of the answer knows.
    Confirmed {
        /// The leg.
        leg: LegId,
        /// The caller's audio from the ACK of a late offer. `None` if the INVITE carried the offer.
        remote: Option<RemoteMedia>,
    },
    /// The trunk sent no response to the INVITE within its `response_timeout`. The attempt goes on until the engine
    /// hangs up.
    NoResponse {
        /// The leg.
        leg: LegId,
        /// Index of the trunk.
        trunk: usize,
    },
    /// The called party is being alerted (180). Emitted at most once for each leg.
    Ringing(LegId),
    /// The call makes progress, but nobody is known to be alerted. Emitted when the status changes.
    Progress {
        /// The leg.
        leg: LegId,
        /// Provisional status except 100 and 180: 181 forwarded, 182 queued, 183 session progress.
        status: u16,
    },
    /// The network of the called party sends audio before the answer (RFC 3960), or has changed it. If several branches
    /// of a fork do so, the audio of the last one counts.
    EarlyMedia {
        /// The leg.
        leg: LegId,
        /// Audio of the early dialog.
        remote: RemoteMedia,
    },
    /// The early media has ended without an answer: the call goes to the next target of its trunk.
    EarlyMediaEnded(LegId),
    /// The called party answered.
    Answered {
        /// The leg.
        leg: LegId,
        /// The called party's audio.
        remote: RemoteMedia,
    },
    /// The called party rejected the call or was unreachable.
    Failed {
        /// The leg.
        leg: LegId,
        /// Final status of RFC 3261, 300 to 699. 408 means no answer, 503 a transport failure.
        status: u16,
    },
    /// The peer changed its audio within the call (hold, resume, codec, address).
    MediaChanged {
        /// The leg.
        leg: LegId,
        /// The peer's audio from now on.
        remote: RemoteMedia,
    },
    /// The peer accepted the re-INVITE of [`super::Endpoint::redirect`]. Its audio goes to the new
    /// address.
    Redirected {
        /// The leg.
        leg: LegId,
        /// The peer's own audio, from its answer.
        remote: RemoteMedia,
    },
    /// The peer rejected the re-INVITE of [`super::Endpoint::redirect`]. Its audio goes to the same
    /// address as before.
    RedirectFailed {
        /// The leg.
        leg: LegId,
        /// Final status, 300 to 699.
        status: u16,
    },
    /// The peer pressed a key and reported it by SIP INFO.
    Key {
        /// The leg.
        leg: LegId,
        /// `0`-`9`, `*`, `#` or `A`-`D`. Secret: must not be logged.
        key: char,
    },
    /// The peer hung up, cancelled its call, or stopped responding.
    HungUp {
        /// The leg.
        leg: LegId,
        /// `true` if the peer ended the call with BYE or CANCEL; `false` after a timeout or an
        /// error.
        orderly: bool,
    },
    /// The peer gives a reason for the end of its leg. `Failed` or `HungUp` follows.
    PeerReason {
        /// The leg.
        leg: LegId,
        /// The reason.
        reason: PeerReason,
    },
    /// A trunk became reachable or unreachable.
    Reachable {
        /// Index of the trunk in [`super::EndpointSettings::trunks`].
        trunk: usize,
        /// The trunk answers.
        up: bool,
    },
    /// A trunk accepted the registration, or the registration is gone.
    Registered {
        /// Index of the trunk in [`super::EndpointSettings::trunks`].
        trunk: usize,
        /// The registration is active. The trunk sends its calls to this endpoint.
        registered: bool,
        /// Status of the registrar's response. 408 means no response, 503 a transport failure.
        status: u16,
    },
}

/// Call sent by a trunk.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The new leg.
    pub leg: LegId,
    /// Index of the trunk in [`super::EndpointSettings::trunks`].
    pub trunk: usize,
    /// Called number; any text if the URI has another user part.
    pub called: PresentedNumber,
    /// The caller.
    pub caller: CallerIdentity,
    /// IP address of the sender.
    pub source: IpAddr,
    /// The caller's audio. `None` if the INVITE has no offer (late offer).
    pub remote: Option<RemoteMedia>,
    /// The source is proven: by a connection, or by digest credentials. Otherwise it may be forged until
    /// [`Event::Confirmed`].
    pub proven: bool,
}

impl std::fmt::Debug for IncomingCall {
    /// Omits the numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingCall")
            .field("leg", &self.leg)
            .field("trunk", &self.trunk)
            .finish_non_exhaustive()
    }
}
