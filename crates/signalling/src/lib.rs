//! SIP for a back-to-back user agent, sans-IO: dialogs, INVITE on both sides, offer/answer.
//!
//! [`Endpoint`] takes messages, commands and the time, and returns messages to send and events. It
//! opens no socket, reads no clock and draws no random number itself, so that ordinary tests cover
//! lossy links and long timeouts.
//!
//! The library named in the `sip` module parses messages and runs the RFC 3261 transactions. This
//! crate implements the layers above.

// Numbers and times come from peers: arithmetic on them is checked, saturating or clamped.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod address_list;
mod body;
mod dialog;
mod display_name;
mod endpoint;
mod header_value;
mod identity;
pub mod limits;
mod malformed;
mod parameters;
pub mod sdes;
pub mod sdp;
mod sip;
mod timer;
mod transactions;
mod trunk;
mod wire;

pub use endpoint::{
    Arrival, DialError, EndReason, Endpoint, EndpointLoad, EndpointSettings, Entropy, Event,
    IncomingCall, LegId, ListenAddress, OutgoingCall, PeerReason, Probe, ProbeStep, Redirection,
    RefusedInvite, SipTimers, UnansweredRequest,
};
pub use identity::{CallerIdentity, NumberContext, NumberVerification, PresentedNumber};
pub use sdp::MediaHost;
pub use trunk::{
    CalledFrom, CallerFrom, Credentials, Digest, Host, IdentityHeader, ShownIdentity, TargetGroup,
    Trunk, TrunkPeer,
};
pub use wire::{Framer, FramingError, Network, Path, SipMessage, Ticket, Transmit, Transport};
