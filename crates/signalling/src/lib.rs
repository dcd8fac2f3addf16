//! SIP for a back-to-back user agent, sans-IO: dialogs, the INVITE usage on both sides, offer/answer.
//!
//! [`Endpoint`] takes messages, commands and the time; it gives out messages to send and events. It opens no
//! socket, reads no clock and draws no random number itself, so that lossy links and long waits are ordinary tests.
//! Parsing and the RFC 3261 transactions are the work of the library that the `sip` module names; everything above
//! them is here.

mod dialog;
mod endpoint;
mod identity;
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
    DialError, Endpoint, EndpointLoad, EndpointSettings, Entropy, Event, IncomingCall, LegId,
    OutgoingCall, Redirection,
};
pub use trunk::{CalledFrom, CallerFrom, Credentials, Digest, Host, Trunk, TrunkPeer};
pub use wire::{Framer, FramingError, Network, Path, SipMessage, Ticket, Transmit, Transport};
