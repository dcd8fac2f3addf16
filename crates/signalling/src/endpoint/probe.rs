//! Single requests to a peer for a diagnosis: OPTIONS (RFC 3261, section 11), and a REGISTER without `Contact`, which
//! reads the bindings of a user and changes none (RFC 3261, section 10.2.3).

use std::net::SocketAddr;

use bytes::Bytes;

use super::challenge::{authorize, challenges};
use super::registration::escape_user;
use super::{Entropy, receive};
use crate::sip::{
    self, Header, HeaderName, Message, Method, Request, RequestBuilder, Response, TransactionKey,
};
use crate::trunk::{Credentials, Trunk, TrunkPeer};
use crate::wire::{MessageContent, SipMessage, Transport};

/// Request to a peer, outside of calls and trunks.
pub struct Probe {
    request: Request,
    transport: Transport,
    /// Address in `Via` and `From`.
    local: SocketAddr,
    /// Credentials for one challenge; `None` if a challenge is the result.
    credentials: Option<Credentials>,
    entropy: Entropy,
}

/// Meaning of a received message for a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    /// The message is not the final response.
    Wait,
    /// The request now answers a challenge. Send [`Probe::bytes`] again.
    SendAgain,
    /// The final response has arrived, with this status.
    Done(u16),
}

impl Probe {
    /// Creates an OPTIONS request to the peer of a trunk. `transport` is that of the next hop. `None` if the trunk has no
    /// peer, or its address is not valid in a message.
    pub fn options(
        trunk: &Trunk,
        transport: Transport,
        local: SocketAddr,
        entropy: Entropy,
    ) -> Option<Self> {
        let identity = format!("<sip:{}>", trunk.peer.as_ref()?);
        let from = format!("<sip:{local}>");
        let built = Built {
            method: Method::Options,
            from,
            to: identity,
            credentials: None,
        };
        built.probe(trunk, transport, local, entropy)
    }

    /// Creates a REGISTER that reads the bindings of the trunk's user. Like [`Probe::options`], and `None` if the trunk has
    /// no credentials.
    pub fn registration_query(
        trunk: &Trunk,
        transport: Transport,
        local: SocketAddr,
        entropy: Entropy,
    ) -> Option<Self> {
        let credentials = trunk.credentials.clone()?;
        let user = escape_user(&credentials.username);
        let identity = format!("<sip:{user}@{}>", trunk.peer.as_ref()?);
        let built = Built {
            method: Method::Register,
            from: identity.clone(),
            to: identity,
            credentials: Some(credentials),
        };
        built.probe(trunk, transport, local, entropy)
    }

    /// Returns the encoded request.
    pub fn bytes(&self) -> Bytes {
        Message::Request(self.request.clone()).to_bytes()
    }

    /// Handles a received message. One challenge is answered, of the realm of the credentials if they name one.
    pub fn on_message(&mut self, message: &SipMessage) -> ProbeStep {
        let MessageContent::Whole(Message::Response(response)) = &message.content else {
            return ProbeStep::Wait;
        };
        let is_own =
            TransactionKey::from_response(response) == TransactionKey::from_request(&self.request);
        match response.status.code() {
            _ if !is_own => ProbeStep::Wait,
            ..200 => ProbeStep::Wait,
            401 | 407 if self.answer(response).is_some() => ProbeStep::SendAgain,
            status => ProbeStep::Done(status),
        }
    }

    fn answer(&mut self, response: &Response) -> Option<()> {
        let credentials = self.credentials.take()?;
        let realm = credentials.realm.clone();
        let in_realm = |challenge: &sip::Challenge| {
            realm.as_ref().is_none_or(|realm| *realm == challenge.realm)
        };
        let challenge = sip::strongest(challenges(response).filter(in_realm).collect())?;
        let sequence = receive::sequence(&self.request).checked_add(1)?;
        let via = via(self.transport, self.local, &mut self.entropy);
        let cnonce = token(&mut self.entropy);
        let request = &mut self.request;
        authorize(request, &challenge, credentials, (sequence, &via, &cnonce))
    }
}

/// Parts of a request that depend on its method.
struct Built {
    method: Method,
    from: String,
    to: String,
    credentials: Option<Credentials>,
}

impl Built {
    fn probe(
        self,
        trunk: &Trunk,
        transport: Transport,
        local: SocketAddr,
        mut entropy: Entropy,
    ) -> Option<Probe> {
        let peer = TrunkPeer {
            transport,
            ..trunk.peer.clone()?
        };
        let mut builder = RequestBuilder::new(self.method.clone(), peer.uri("")?).max_forwards(70);
        if let Some(proxy) = &trunk.outbound_proxy {
            let route = format!("<sip:{proxy}{};lr>", transport.uri_parameter());
            builder = builder.header(HeaderName::Route, route).ok()?;
        }
        let from = format!("{};tag={}", self.from, token(&mut entropy));
        let mut request = builder
            .header(HeaderName::From, from)
            .ok()?
            .header(HeaderName::To, self.to)
            .ok()?
            .header(HeaderName::CallId, token(&mut entropy))
            .ok()?
            .cseq(1, &self.method)
            .ok()?
            .build();
        let via = Header::build(HeaderName::Via, via(transport, local, &mut entropy)).ok()?;
        request.headers.push_front(via);
        Some(Probe {
            request,
            transport,
            local,
            credentials: self.credentials,
            entropy,
        })
    }
}

fn token(entropy: &mut Entropy) -> String {
    format!("{:016x}", entropy())
}

fn via(transport: Transport, local: SocketAddr, entropy: &mut Entropy) -> String {
    let branch = token(entropy);
    format!(
        "SIP/2.0/{} {local};branch=z9hG4bK{branch};rport",
        transport.via()
    )
}
