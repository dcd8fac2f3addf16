//! SIP dialogs (RFC 3261, section 12): the state that both ends of a call share.

use bytes::Bytes;

use crate::sip::{
    Address, CSeq, CallId, Contact, FromHeader, HeaderName, Headers, Method, RecordRoute, Request,
    RequestBuilder, Response, To, Uri,
};

/// Local view of a dialog.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    call_id: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    /// Local `From` value with its tag, as sent in all requests.
    local: Bytes,
    /// The peer's `To` value with its tag.
    remote: Bytes,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    target: Uri,
    routes: Vec<Bytes>,
}

/// Identifier of a dialog, as found in a request of the peer (RFC 3261, section 12.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DialogId {
    pub(crate) call_id: Bytes,
    pub(crate) local_tag: Bytes,
    pub(crate) remote_tag: Bytes,
}

impl DialogId {
    /// Returns the dialog named by a received request. `None` if its `To` has no tag.
    pub(crate) fn from_request(request: &Request) -> Option<Self> {
        let to = request.headers.typed::<To>()?.ok()?;
        let from = request.headers.typed::<FromHeader>()?.ok()?;
        let local_tag = Bytes::copy_from_slice(to.tag()?);
        let remote_tag = Bytes::copy_from_slice(from.tag().unwrap_or_default());
        Some(Self {
            call_id: call_id(&request.headers)?,
            local_tag,
            remote_tag,
        })
    }
}

impl Dialog {
    /// Creates the dialog of a received INVITE that is answered with `local_tag`. Returns `None` if
    /// the request lacks a required field, such as a usable `Contact`, or has an invalid route.
    pub(crate) fn accept(request: &Request, local_tag: &str) -> Option<Self> {
        let headers = &request.headers;
        let from = headers.typed::<FromHeader>()?.ok()?;
        let to = headers.value(&HeaderName::To)?;
        Some(Self {
            call_id: call_id(headers)?,
            local_tag: Bytes::copy_from_slice(local_tag.as_bytes()),
            remote_tag: Bytes::copy_from_slice(from.tag().unwrap_or_default()),
            local: Bytes::from([&to[..], b";tag=", local_tag.as_bytes()].concat()),
            remote: Bytes::copy_from_slice(&headers.value(&HeaderName::From)?),
            local_sequence: 0,
            remote_sequence: Some(headers.typed::<CSeq>()?.ok()?.sequence),
            target: contact(headers)?,
            routes: record_routes(headers).collect::<Option<_>>()?,
        })
    }

    /// Creates the dialog of a sent INVITE from its response. If the response has no valid
    /// `Contact`, the target stays the Request-URI of the INVITE. Returns `None` if a required
    /// field is missing.
    pub(crate) fn establish(invite: &Request, response: &Response) -> Option<Self> {
        let headers = &response.headers;
        let from = invite.headers.typed::<FromHeader>()?.ok()?;
        let to = headers.typed::<To>()?.ok()?;
        let mut routes: Vec<_> = record_routes(headers).flatten().collect();
        routes.reverse();
        Some(Self {
            call_id: call_id(&invite.headers)?,
            local_tag: Bytes::copy_from_slice(from.tag()?),
            remote_tag: Bytes::copy_from_slice(to.tag().unwrap_or_default()),
            local: Bytes::copy_from_slice(&invite.headers.value(&HeaderName::From)?),
            remote: Bytes::copy_from_slice(&headers.value(&HeaderName::To)?),
            local_sequence: invite.headers.typed::<CSeq>()?.ok()?.sequence,
            remote_sequence: None,
            target: contact(headers).unwrap_or_else(|| invite.uri.clone()),
            routes,
        })
    }

    /// Continues the sequence numbers of the early dialog, in which requests were exchanged.
    pub(crate) fn continue_from(&mut self, early: &Self) {
        self.note_sequence(early.local_sequence);
        self.remote_sequence = self.remote_sequence.max(early.remote_sequence);
    }

    /// Returns the sequence number of the last local request.
    pub(crate) fn local_sequence(&self) -> u32 {
        self.local_sequence
    }

    /// Takes a sequence number that a request was sent with.
    pub(crate) fn note_sequence(&mut self, sequence: u32) {
        self.local_sequence = self.local_sequence.max(sequence);
    }

    pub(crate) fn matches(&self, id: &DialogId) -> bool {
        (&self.call_id, &self.local_tag, &self.remote_tag)
            == (&id.call_id, &id.local_tag, &id.remote_tag)
    }

    pub(crate) fn call_id(&self) -> &Bytes {
        &self.call_id
    }

    pub(crate) fn local_tag(&self) -> &Bytes {
        &self.local_tag
    }

    pub(crate) fn remote_tag(&self) -> &Bytes {
        &self.remote_tag
    }

    /// Returns the URI of the next hop: the first route, otherwise the peer's contact.
    pub(crate) fn next_hop(&self) -> Uri {
        self.first_route().unwrap_or_else(|| self.target.clone())
    }

    fn first_route(&self) -> Option<Uri> {
        let route = Address::parse(self.routes.first()?, "Route").ok()?;
        Some(route.uri)
    }

    /// Returns the Request-URI and the routes of a request (RFC 3261, section 12.2.1.1). A first route without `lr` is a
    /// strict router: it becomes the Request-URI, and the peer's contact becomes the last route.
    fn target_and_routes(&self) -> (Uri, Vec<Bytes>) {
        match self.first_route() {
            Some(first) if !is_loose(&first) => {
                let rest = self.routes.iter().skip(1).cloned();
                let contact = route(&self.target);
                (first, rest.chain([contact]).collect())
            }
            _ => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Accepts the sequence number of a request of the peer. Returns `false` if it is not newer
    /// than the last one; such a request gets a 500 (RFC 3261, section 12.2.2).
    pub(crate) fn accept_sequence(&mut self, sequence: u32) -> bool {
        let newer = self.remote_sequence.is_none_or(|last| sequence > last);
        if newer {
            self.remote_sequence = Some(sequence);
        }
        newer
    }

    /// Refreshes the remote target (RFC 3261, section 12.2). Later requests go to the new contact.
    pub(crate) fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = contact(headers) {
            self.target = target;
        }
    }

    /// Starts a request within the dialog, without `Via`. All methods except ACK use a new sequence
    /// number.
    pub(crate) fn request(&mut self, method: Method) -> Option<RequestBuilder> {
        if method != Method::Ack {
            self.local_sequence = self.local_sequence.checked_add(1)?;
        }
        let (target, routes) = self.target_and_routes();
        let mut builder = RequestBuilder::new(method.clone(), target).max_forwards(70);
        for route in routes {
            builder = builder.header(HeaderName::Route, route).ok()?;
        }
        let builder = builder.header(HeaderName::From, self.local.clone()).ok()?;
        let builder = builder.header(HeaderName::To, self.remote.clone()).ok()?;
        let builder = builder
            .header(HeaderName::CallId, self.call_id.clone())
            .ok()?;
        builder.cseq(self.local_sequence, &method).ok()
    }
}

fn call_id(headers: &Headers) -> Option<Bytes> {
    headers
        .typed::<CallId>()?
        .ok()
        .map(|call_id| Bytes::from(call_id.0))
}

fn contact(headers: &Headers) -> Option<Uri> {
    headers
        .typed::<Contact>()?
        .ok()
        .map(|contact| contact.0.uri)
        .filter(|uri| uri.host().is_some())
}

/// Returns the recorded routes, formatted for `Route`. An item is `None` if its route is invalid.
fn record_routes(headers: &Headers) -> impl Iterator<Item = Option<Bytes>> {
    let routes = headers.typed_all::<RecordRoute>().map(Result::ok);
    routes.map(|recorded| Some(route(&recorded?.0.uri)))
}

/// Returns `true` if the URI of a route has `lr` (RFC 3261, section 19.1.1).
fn is_loose(route: &Uri) -> bool {
    route.params().is_some_and(|params| params.contains("lr"))
}

/// Returns a URI as a value of `Route`.
fn route(uri: &Uri) -> Bytes {
    Bytes::from([b"<", &uri.to_bytes()[..], b">"].concat())
}
