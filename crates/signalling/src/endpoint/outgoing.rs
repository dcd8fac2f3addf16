//! Outgoing calls: from the INVITE to its answer or cancellation.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::negotiation::{negotiated_media, response_description};
use super::{Endpoint, Event, LegId, LegState, Purpose, SentAck, SipLeg, TimerKey, challenge};
use crate::dialog::Dialog;
use crate::sdp::{self, Codec, Description, LocalMedia};
use crate::sip::{
    HeaderName, Message, Method, Request, RequestBuilder, Response, To, TransactionKey,
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
#[derive(Debug)]
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
    pub(super) ringing: bool,
    /// The engine hung up. The CANCEL was sent, or waits for a provisional response.
    pub(super) withdrawn: bool,
    canceled: bool,
    /// Early dialogs that sent a reliable provisional response, one for each branch of a fork.
    pub(super) early: Vec<EarlyDialog>,
    /// Descriptions of provisional responses, with the tags of their branches.
    previews: Vec<(Bytes, Description)>,
}

/// Branch of a fork that sent a reliable provisional response (RFC 3262).
#[derive(Debug)]
pub(super) struct EarlyDialog {
    dialog: Dialog,
    sequence: u32,
}

/// Maximum number of fork branches whose provisional responses are acknowledged. A fork that rings
/// real phones has fewer.
const MAX_FORK_BRANCHES: usize = 10;

impl Endpoint {
    /// Places a call and returns its leg. Progress is reported by events of this leg.
    pub fn dial(&mut self, call: OutgoingCall, now: Instant) -> Result<LegId, DialError> {
        let path = self.trunk_path(call.trunk).ok_or(DialError::NoPeer)?;
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
            withdrawn: false,
            canceled: false,
            early: Vec::new(),
            previews: Vec::new(),
        };
        let leg = self.add_leg(SipLeg {
            tag: Bytes::from(tag),
            path,
            user: call.from,
            state: LegState::Outgoing(Box::new(invite)),
            local: Some(call.local),
            session: None,
            outgoing: true,
            pending_reinvite: None,
            hung_up: false,
        });
        let purpose = Purpose::Invite {
            leg,
            acknowledged: Vec::new(),
        };
        let key = self.request(request, path, purpose, now);
        if let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&leg)
        {
            invite.key = key;
        }
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
        let identity = format!("<sip:{}@{}>", call.from, self.local_host(path.transport));
        let contact = self.contact(&call.from, path.transport);
        let to = format!(
            "<sip:{}@{}>",
            call.to,
            self.settings.trunks.get(call.trunk)?.peer.as_ref()?
        );
        let from = format!("{identity};tag={tag}");
        let call_id = format!("{}{}", self.token(), self.token());
        let builder = self.request_outside(
            (call.trunk, &call.to),
            &Method::Invite,
            (&from, &to),
            (&call_id, 1),
        )?;
        let builder = builder.header(HeaderName::Contact, contact).ok()?;
        let builder = builder
            .header(HeaderName::PAssertedIdentity, identity)
            .ok()?;
        let builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        let builder = builder
            .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
            .ok()?;
        let builder = builder.body(sdp::offer(
            &call.local,
            call.preferred,
            self.codecs_for(path),
        ));
        self.finish_request(builder, path.transport)
    }

    pub(super) fn on_invite_response(
        &mut self,
        key: &TransactionKey,
        id: LegId,
        response: &Response,
        now: Instant,
    ) {
        match response.status.code() {
            100 => self.on_provisional(id, false, now),
            101..200 => {
                self.pin_realm(id);
                self.acknowledge_provisional(id, response, now);
                self.preview_answer(id, response);
                self.on_provisional(id, true, now);
            }
            200..300 => {
                self.pin_realm(id);
                self.on_answer(key, id, response, now);
            }
            401 | 407 if self.retry_with_credentials(id, response, now) => {}
            // A 3xx names a different number and is not followed. A challenge of a called party is
            // not answered. Both fail the call.
            status => self.on_invite_failure(id, status, now),
        }
    }

    fn on_provisional(&mut self, id: LegId, alerting: bool, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        invite.proceeding = true;
        let ringing = alerting && !invite.ringing;
        invite.ringing |= alerting;
        if invite.withdrawn {
            return self.cancel(id, now);
        }
        if ringing {
            self.emit(id, Event::Ringing(id));
        }
    }

    /// Sends a PRACK for a reliable provisional response. The peer retransmits the response until
    /// then (RFC 3262, section 4).
    fn acknowledge_provisional(
        &mut self,
        id: LegId,
        response: &Response,
        now: Instant,
    ) -> Option<()> {
        let sequence = reliable_sequence(response)?;
        let SipLeg {
            state: LegState::Outgoing(invite),
            path,
            ..
        } = self.legs.get_mut(&id)?
        else {
            return None;
        };
        let dialog = Dialog::establish(&invite.request, response)?;
        let same_branch = |early: &EarlyDialog| early.dialog.remote_tag() == dialog.remote_tag();
        let branch = match invite.early.iter().position(same_branch) {
            Some(index) => {
                let early = invite.early.get_mut(index)?;
                // The response was already acknowledged, or is out of order and will be
                // retransmitted.
                if early.sequence.checked_add(1) != Some(sequence) {
                    return None;
                }
                early.sequence = sequence;
                early
            }
            None if invite.early.len() < MAX_FORK_BRANCHES => {
                invite.early.push(EarlyDialog { dialog, sequence });
                invite.early.last_mut()?
            }
            None => return None,
        };
        let path = super::path_to(&branch.dialog.next_hop(), *path);
        let invite_sequence = super::receive::sequence(&invite.request);
        let builder = branch.dialog.request(Method::Prack)?;
        let builder = builder
            .header(
                HeaderName::RAck,
                format!("{sequence} {invite_sequence} INVITE"),
            )
            .ok()?;
        let prack = self.finish_request(builder, path.transport)?;
        self.request(prack, path, Purpose::NoReplyNeeded, now);
        Some(())
    }

    /// Keeps the first description of a branch. It is the answer (RFC 3261, section 13.2.1), and the 2xx may omit it
    /// (RFC 6337, section 2.2).
    fn preview_answer(&mut self, id: LegId, response: &Response) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        let to = response.headers.typed::<To>().and_then(Result::ok);
        let Some(tag) = to.as_ref().and_then(|to| to.tag()) else {
            return;
        };
        let is_known = invite.previews.iter().any(|(known, _)| known == tag);
        if is_known || invite.previews.len() >= MAX_FORK_BRANCHES {
            return;
        }
        if let Some(Ok(answer)) = response_description(response) {
            let tag = Bytes::copy_from_slice(tag);
            invite.previews.push((tag, answer));
        }
    }

    /// Returns the description that a provisional response of the branch has shown.
    fn previewed_answer(&self, id: LegId, tag: &[u8]) -> Option<Description> {
        let LegState::Outgoing(invite) = &self.legs.get(&id)?.state else {
            return None;
        };
        let mut previews = invite.previews.iter();
        previews
            .find(|(known, _)| known == tag)
            .map(|(_, answer)| answer.clone())
    }

    /// Returns the early dialog of the branch that answers.
    fn early_dialog(&self, id: LegId, tag: &[u8]) -> Option<&EarlyDialog> {
        let LegState::Outgoing(invite) = &self.legs.get(&id)?.state else {
            return None;
        };
        invite
            .early
            .iter()
            .find(|early| early.dialog.remote_tag() == tag)
    }

    fn on_answer(&mut self, key: &TransactionKey, id: LegId, response: &Response, now: Instant) {
        let to = response.headers.typed::<To>().and_then(Result::ok);
        let tag = to.as_ref().and_then(|to| to.tag()).unwrap_or_default();
        if self.acknowledge_again(key, tag) {
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
        let description = match response_description(response) {
            Some(description) => description.ok(),
            None => self.previewed_answer(id, tag),
        };
        let waiting = self.legs.get(&id).filter(|leg| was_calling && !leg.hung_up);
        let usable = description.zip(waiting).and_then(|(answer, leg)| {
            negotiated_media(answer, leg.local.as_ref(), self.media_rule(leg.path))
        });
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
                if let Some(builder) = dialog.request(Method::Bye)
                    && let Some(bye) = self.finish_request(builder, path.transport)
                {
                    self.request(bye, path, Purpose::NoReplyNeeded, now);
                }
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

    /// Repeats the ACK for a retransmitted 2xx (RFC 3261, section 13.2.2.4). Returns `false` if the
    /// 2xx is new.
    fn acknowledge_again(&mut self, key: &TransactionKey, tag: &[u8]) -> bool {
        let Some(Purpose::Invite { acknowledged, .. }) =
            self.transactions.get(key).map(|found| &found.purpose)
        else {
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

    fn acknowledge(&mut self, key: &TransactionKey, response: &Response) -> Option<(Dialog, Path)> {
        let invite = self.layer.client_request(key)?;
        let mut dialog = Dialog::establish(invite, response)?;
        let invite_path = self.transactions.get(key)?.path;
        let path = super::path_to(&dialog.next_hop(), invite_path);
        let ack = dialog.request(Method::Ack)?;
        let ack = self.finish_request(ack, path.transport)?;
        let ack = Transmit {
            path,
            bytes: Message::Request(ack).to_bytes(),
            ticket: None,
        };
        self.transmits.push_back(ack.clone());
        if let Some(Purpose::Invite { acknowledged, .. }) = self
            .transactions
            .get_mut(key)
            .map(|transaction| &mut transaction.purpose)
        {
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
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        let path = *path;
        invite.withdrawn = true;
        if !invite.proceeding || invite.canceled {
            return;
        }
        invite.canceled = true;
        let cancel = cancel_of(&invite.request);
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

/// Returns the `RSeq` of a reliable provisional response.
fn reliable_sequence(response: &Response) -> Option<u32> {
    let mut required = response.headers.get_all(&HeaderName::Require);
    let reliable = required.any(|header| {
        header
            .value()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"100rel"))
    });
    let number = response
        .headers
        .value(&HeaderName::RSeq)
        .filter(|_| reliable)?;
    std::str::from_utf8(&number).ok()?.trim().parse().ok()
}

/// Builds the CANCEL of an INVITE (RFC 3261, section 9.1), with the same branch, sequence number
/// and identity.
fn cancel_of(invite: &Request) -> Option<Request> {
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
    Some(
        builder
            .cseq(super::receive::sequence(invite), &Method::Cancel)
            .ok()?
            .build(),
    )
}
