//! Outgoing calls: from the INVITE to its answer or cancellation.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::early::EarlyDialog;
use super::negotiation::{negotiated_media, response_description};
use super::{
    EndReason, Endpoint, Event, LegId, LegState, Purpose, SentAck, SipLeg, TimerKey, challenge,
};
use crate::dialog::Dialog;
use crate::sdp::{self, Codec, LocalMedia, MediaLayout, RemoteMedia};
use crate::sip::{
    HeaderName, Message, Method, Request, RequestBuilder, Response, Timer, To, TransactionKey,
};
use crate::wire::{Path, Transmit};

/// Parameters of an outgoing call. The INVITE is built from these fields alone, so that nothing of
/// another leg can leak into it.
#[derive(Clone)]
pub struct OutgoingCall {
    /// Index of the trunk in [`super::EndpointSettings::trunks`].
    pub trunk: usize,
    /// Number to call: digits, with a leading `+` for E.164.
    pub to: String,
    /// Number shown to the called party.
    pub from: String,
    /// Local audio.
    pub local: LocalMedia,
    /// Codec offered first.
    pub preferred: Codec,
}

impl std::fmt::Debug for OutgoingCall {
    /// Omits the numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingCall")
            .field("trunk", &self.trunk)
            .finish_non_exhaustive()
    }
}

/// Reason why a call cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The trunk does not exist or takes no calls.
    #[error("the trunk has no peer to call")]
    NoPeer,
    /// A number contains an invalid character or is empty.
    #[error("a number is empty or contains an invalid character")]
    BadNumber,
}

/// INVITE that awaits its final response.
#[derive(Debug, Clone)]
pub(super) struct SentInvite {
    pub(super) key: Option<TransactionKey>,
    pub(super) request: Request,
    /// Index of the trunk.
    pub(super) trunk: usize,
    /// Targets of the trunk that already failed.
    pub(super) attempted: Vec<SocketAddr>,
    /// Last challenge answered for this call.
    pub(super) answered_challenge: Option<challenge::AnsweredChallenge>,
    /// A provisional response arrived, so that a CANCEL is allowed (RFC 3261, section 9.1).
    pub(super) proceeding: bool,
    /// A 180 arrived: the called party is being alerted.
    pub(super) ringing: bool,
    /// Last status from 101 to 199. From then on, responses may come from the called party instead of the trunk.
    pub(super) progress: Option<u16>,
    /// The engine hung up. The CANCEL was sent, or waits for a provisional response.
    pub(super) withdrawn: bool,
    canceled: bool,
    /// Early dialogs, one for each branch of a fork.
    pub(super) early: Vec<EarlyDialog>,
}

/// Maximum number of fork branches with an early dialog, and of branches whose 2xx is acknowledged.
/// A fork that rings real phones has fewer.
pub(super) const MAX_FORK_BRANCHES: usize = 10;

impl Endpoint {
    /// Places a call and returns its leg. Progress is reported by events of this leg.
    pub fn dial(&mut self, call: OutgoingCall, now: Instant) -> Result<LegId, DialError> {
        let path = self.call_path(call.trunk).ok_or(DialError::NoPeer)?;
        let tag = self.token();
        let request = self
            .build_invite(&call, path, &tag)
            .ok_or(DialError::BadNumber)?;
        let invite = SentInvite {
            key: None,
            request: request.clone(),
            trunk: call.trunk,
            attempted: Vec::new(),
            answered_challenge: None,
            proceeding: false,
            ringing: false,
            progress: None,
            withdrawn: false,
            canceled: false,
            early: Vec::new(),
        };
        let leg = self.add_leg(SipLeg {
            tag: Bytes::from(tag),
            path,
            contact: super::LocalContact::plain(&call.from),
            state: LegState::Outgoing(Box::new(invite)),
            local: Some(call.local),
            layout: MediaLayout::default(),
            session: None,
            outgoing: true,
            pending_reinvite: None,
            redirected: None,
            hung_up: false,
            end_reason: EndReason::default(),
        });
        self.send_invite(leg, request, now);
        Ok(leg)
    }

    fn build_invite(&mut self, call: &OutgoingCall, path: Path, tag: &str) -> Option<Request> {
        let is_number = |text: &str| {
            let digits = text.strip_prefix('+').unwrap_or(text);
            !digits.is_empty()
                && digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'#'))
        };
        if !is_number(&call.to) || !is_number(&call.from) {
            return None;
        }
        let host = self.local_host(path).to_string();
        let settings = self.settings.trunks.get(call.trunk)?;
        let shown = settings.shown_as.clone();
        let identity = shown.identity(&call.from, &host);
        let contact = self.contact(&super::LocalContact::plain(&call.from), path);
        let peer = settings.peer.as_ref()?;
        let to = format!("<sip:{}@{peer}{}>", call.to, shown.user_parameter());
        let from = format!("{};tag={tag}", shown.from(&call.from, &host));
        let call_id = format!("{}{}", self.token(), self.token());
        let builder = self.request_outside(
            (call.trunk, &call.to),
            &Method::Invite,
            (&from, &to),
            (&call_id, 1),
        )?;
        let builder = builder.header(HeaderName::Contact, contact).ok()?;
        let builder = match identity {
            Some((name, value)) => builder.header(name, value).ok()?,
            None => builder,
        };
        let builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        let builder = builder
            .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
            .ok()?;
        let builder = builder.body(sdp::offer(
            &call.local,
            call.preferred,
            self.codecs_for(path),
        ));
        self.finish_request(builder, path)
    }

    pub(super) fn on_invite_response(
        &mut self,
        key: &TransactionKey,
        id: LegId,
        response: &Response,
        now: Instant,
    ) {
        self.timers.clear(&TimerKey::FirstResponse(id));
        match response.status.code() {
            100 => self.on_provisional(id, None, now),
            status @ 101..200 => {
                self.pin_realm(id);
                self.on_early_response(id, response, now);
                self.on_provisional(id, Some(status), now);
            }
            200..300 => {
                self.pin_realm(id);
                self.on_answer(key, id, response, now);
            }
            401 | 407 if self.retry_with_credentials(id, response, now) => {}
            // A 3xx names a different number and is not followed. A challenge of a called party is
            // not answered. Both fail the call.
            status => {
                self.report_peer_reason(id, &response.headers);
                self.on_invite_failure(id, status, now);
            }
        }
    }

    fn on_provisional(&mut self, id: LegId, progress: Option<u16>, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        invite.proceeding = true;
        let previous = invite.progress;
        invite.progress = progress.or(previous);
        let rings = progress == Some(180) && !invite.ringing;
        invite.ringing |= rings;
        if invite.withdrawn {
            return self.cancel(id, now);
        }
        match progress {
            Some(180) if rings => self.emit(id, Event::Ringing(id)),
            Some(180) | None => {}
            _ if previous == progress => {}
            Some(status) => self.emit(id, Event::Progress { leg: id, status }),
        }
    }

    fn on_answer(&mut self, key: &TransactionKey, id: LegId, response: &Response, now: Instant) {
        let to = response.headers.typed::<To>().and_then(Result::ok);
        let tag = to.as_ref().and_then(|to| to.tag()).unwrap_or_default();
        if self.acknowledge_again(key, tag) || self.is_fork_too_large(key) {
            return;
        }
        let was_calling = matches!(
            self.legs.get(&id).map(|leg| &leg.state),
            Some(LegState::Outgoing(_))
        );
        let Some((mut dialog, path)) = self.acknowledge(key, response) else {
            return self.on_invite_failure(id, 500, now);
        };
        if let Some(early) = self.early_dialog(id, tag) {
            dialog.continue_from(&early.dialog);
        }
        let is_waiting = |leg: &SipLeg| was_calling && !leg.hung_up;
        let usable = self
            .answered_media(id, tag, response)
            .filter(|_| self.legs.get(&id).is_some_and(is_waiting));
        match (usable, self.legs.get_mut(&id)) {
            (Some(remote), Some(leg)) => {
                leg.state = LegState::Confirmed {
                    dialog: Box::new(dialog),
                    codec: remote.codec,
                };
                self.emit(id, Event::Answered { leg: id, remote });
            }
            // A second answer of a fork, an answer after the engine hung up, or unusable audio.
            _ => {
                self.end_unwanted_dialog(dialog, path, now);
                if was_calling {
                    self.end_leg(
                        id,
                        Event::Failed {
                            leg: id,
                            status: 488,
                        },
                    );
                }
            }
        }
    }

    fn end_unwanted_dialog(&mut self, mut dialog: Dialog, path: Path, now: Instant) {
        if let Some(builder) = dialog.request(Method::Bye)
            && let Some(bye) = self.finish_request(builder, path)
        {
            self.request(bye, path, Purpose::Bye(None), now);
        }
    }

    /// Marks an INVITE as ended: it was rejected, or another one replaces it.
    pub(super) fn note_invite_ended(&mut self, key: &TransactionKey) {
        if let Some(transaction) = self.transactions.get_mut(key)
            && let Purpose::Invite { acknowledged, .. } = &mut transaction.purpose
        {
            transaction.purpose = Purpose::EndedInvite(std::mem::take(acknowledged));
        }
    }

    /// Acknowledges and ends the dialog of a 2xx that arrives after a failure of the same INVITE, from another branch of
    /// a fork (RFC 3261, sections 13.2.2.4 and 16.7). Returns `false` for any other response. The transaction layer would
    /// answer it like a repeated failure.
    pub(super) fn end_late_answer(&mut self, response: &Response, now: Instant) -> bool {
        let Some(key) = TransactionKey::from_response(response) else {
            return false;
        };
        let is_ended = self
            .transactions
            .get(&key)
            .is_some_and(|found| matches!(found.purpose, Purpose::EndedInvite(_)));
        if !is_ended || !(200..300).contains(&response.status.code()) {
            return false;
        }
        let to = response.headers.typed::<To>().and_then(Result::ok);
        let tag = to.as_ref().and_then(|to| to.tag()).unwrap_or_default();
        if !self.acknowledge_again(&key, tag)
            && !self.is_fork_too_large(&key)
            && let Some((dialog, path)) = self.acknowledge(&key, response)
        {
            self.end_unwanted_dialog(dialog, path, now);
        }
        true
    }

    /// Repeats the ACK for a retransmitted 2xx (RFC 3261, section 13.2.2.4). Returns `false` if the
    /// 2xx is new.
    fn acknowledge_again(&mut self, key: &TransactionKey, tag: &[u8]) -> bool {
        let transaction = self.transactions.get(key);
        let Some(acknowledged) = transaction.and_then(|found| found.purpose.acknowledged()) else {
            return false;
        };
        let Some(sent_ack) = acknowledged
            .iter()
            .find(|sent_ack| sent_ack.remote_tag == tag)
        else {
            return false;
        };
        self.transmits.push_back(sent_ack.ack.clone());
        true
    }

    /// Returns `true` if enough branches of a fork have answered. A further 2xx is ignored: each one costs an ACK and a
    /// BYE to an address that it names.
    fn is_fork_too_large(&self, key: &TransactionKey) -> bool {
        let transaction = self.transactions.get(key);
        let acknowledged = transaction.and_then(|found| found.purpose.acknowledged());
        acknowledged.is_some_and(|acknowledged| acknowledged.len() >= MAX_FORK_BRANCHES)
    }

    /// Returns the called party's audio from its 2xx or from its early dialog.
    fn answered_media(&self, id: LegId, tag: &[u8], response: &Response) -> Option<RemoteMedia> {
        let leg = self.legs.get(&id)?;
        let early = self.early_dialog(id, tag);
        if let Some(renegotiated) = early.and_then(|early| early.renegotiated) {
            return Some(renegotiated);
        }
        let answer = match response_description(response) {
            Some(description) => description.ok()?,
            None => early?.answer.clone()?,
        };
        negotiated_media(answer, leg.local.as_ref(), self.media_rule(leg.path))
    }

    fn acknowledge(&mut self, key: &TransactionKey, response: &Response) -> Option<(Dialog, Path)> {
        let invite = self.layer.client_request(key)?;
        let mut dialog = Dialog::establish(invite, response)?;
        let invite_path = self.transactions.get(key)?.path;
        let path = super::path_to(&dialog.next_hop(), invite_path);
        let ack = self.with_credentials_of(invite, dialog.request(Method::Ack)?, path)?;
        let ack = self.finish_request(ack, path)?;
        let ack = Transmit {
            path,
            bytes: Message::Request(ack).to_bytes(),
            ticket: None,
        };
        self.transmits.push_back(ack.clone());
        let transaction = self.transactions.get_mut(key);
        if let Some(acknowledged) = transaction.and_then(|found| found.purpose.acknowledged_mut()) {
            acknowledged.push(SentAck {
                remote_tag: dialog.remote_tag().clone(),
                ack,
            });
        }
        Some((dialog, path))
    }

    pub(super) fn on_invite_failure(&mut self, id: LegId, status: u16, now: Instant) {
        if matches!(status, 408 | 503) && self.invite_next_target(id, now).is_some() {
            return;
        }
        if matches!(
            self.legs.get(&id).map(|leg| &leg.state),
            Some(LegState::Outgoing(_))
        ) {
            self.end_leg(id, Event::Failed { leg: id, status });
        }
    }

    /// Cancels an INVITE, immediately or after its first provisional response.
    pub(super) fn cancel(&mut self, id: LegId, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            path,
            end_reason,
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        let sent = invite
            .key
            .as_ref()
            .and_then(|key| self.transactions.get(key));
        let path = sent.map_or(*path, |sent| sent.path);
        invite.withdrawn = true;
        if !invite.proceeding || invite.canceled {
            // A CANCEL must wait for a response (RFC 3261, section 9.1). An INVITE that did not arrive is not repeated.
            if let Some(key) = invite.key.clone() {
                self.timers.clear(&TimerKey::Transaction(key, Timer::A));
            }
            return;
        }
        invite.canceled = true;
        let cancel = cancel_of(&invite.request, *end_reason);
        if let Some(cancel) = cancel {
            self.request(cancel, path, Purpose::NoReplyNeeded, now);
        }
        self.timers
            .set(TimerKey::CancelTimeout(id), now, self.transaction_timeout());
    }

    /// Ends an INVITE that got no final response after its CANCEL (RFC 3261, section 9.1).
    pub(super) fn on_cancel_timeout(&mut self, id: LegId, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get(&id)
        else {
            return;
        };
        let key = invite.key.clone();
        self.remove_leg(id);
        if let Some(key) = key {
            let outputs = self.layer.on_transport_error(&key);
            self.perform(&key, outputs, now);
        }
    }
}

/// Builds the CANCEL of an INVITE (RFC 3261, section 9.1), with the same branch, sequence number
/// and identity.
fn cancel_of(invite: &Request, reason: EndReason) -> Option<Request> {
    let mut builder = RequestBuilder::new(Method::Cancel, invite.uri.clone()).max_forwards(70);
    for name in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
    ] {
        let value = invite.headers.value(&name)?.into_owned();
        builder = builder.header(name, value).ok()?;
    }
    for route in invite.headers.get_all(&HeaderName::Route) {
        builder = builder
            .header(HeaderName::Route, route.value().into_owned())
            .ok()?;
    }
    let builder = builder
        .header(super::reason::header_name(), reason.value())
        .ok()?;
    Some(
        builder
            .cseq(super::receive::sequence(invite), &Method::Cancel)
            .ok()?
            .build(),
    )
}
