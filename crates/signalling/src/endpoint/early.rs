//! Early dialogs (RFC 3261, section 12): reliable provisional responses, and requests of the called party before its
//! answer.

use std::time::Instant;

use super::negotiation::{
    negotiated_media, parse_later_offer, preserve_srtp, response_description,
    unsupported_extensions,
};
use super::outgoing::MAX_FORK_BRANCHES;
use super::{Endpoint, Event, LegId, LegState, Purpose, SipLeg};
use crate::dialog::{Dialog, DialogId};
use crate::sdp::{self, Description, LocalMedia, MediaLayout, RemoteMedia};
use crate::sip::{HeaderName, Method, Request, Response, To, TransactionKey};

/// Branch of an INVITE that sent a provisional response.
#[derive(Debug, Clone)]
pub(super) struct EarlyDialog {
    pub(super) dialog: Dialog,
    /// `RSeq` of the last reliable response (RFC 3262).
    sequence: Option<u32>,
    /// First description of the branch. It is the answer (RFC 3261, section 13.2.1), and the 2xx may omit it (RFC 6337,
    /// section 2.2).
    pub(super) answer: Option<Description>,
    /// The answer came in a reliable response.
    is_answer_reliable: bool,
    /// Audio of a later offer in an UPDATE.
    pub(super) renegotiated: Option<RemoteMedia>,
}

/// Local media of a leg with an early dialog.
struct EarlyMedia<'a> {
    local: &'a mut Option<LocalMedia>,
    layout: &'a mut MediaLayout,
}

impl Endpoint {
    /// Handles a provisional response: starts the early dialog, acknowledges a reliable response and keeps an answer. The
    /// first answer of a branch is its early media.
    pub(super) fn on_early_response(&mut self, id: LegId, response: &Response, now: Instant) {
        let to = response.headers.typed::<To>().and_then(Result::ok);
        let tag = to.as_ref().and_then(|to| to.tag()).unwrap_or_default();
        let is_known = self.early_answer(id, tag).is_some();
        self.start_early_dialog(id, response, now);
        let answer = self.early_answer(id, tag).filter(|_| !is_known).cloned();
        let leg = self.legs.get(&id);
        let remote = answer.zip(leg).and_then(|(answer, leg)| {
            negotiated_media(answer, leg.local.as_ref(), self.media_rule(leg.path))
        });
        if let Some(remote) = remote {
            self.emit(id, Event::EarlyMedia { leg: id, remote });
        }
    }

    /// Returns the answer in the early dialog of a branch.
    fn early_answer(&self, id: LegId, tag: &[u8]) -> Option<&Description> {
        self.early_dialog(id, tag)?.answer.as_ref()
    }

    fn start_early_dialog(&mut self, id: LegId, response: &Response, now: Instant) -> Option<()> {
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
            Some(index) => invite.early.get_mut(index)?,
            None if invite.early.len() < MAX_FORK_BRANCHES => {
                invite.early.push(EarlyDialog {
                    dialog,
                    sequence: None,
                    answer: None,
                    is_answer_reliable: false,
                    renegotiated: None,
                });
                invite.early.last_mut()?
            }
            None => return None,
        };
        let reliable = reliable_sequence(response);
        if let Some(Ok(answer)) = response_description(response) {
            branch.answer.get_or_insert(answer);
            branch.is_answer_reliable |= reliable.is_some();
        }
        let sequence = reliable?;
        // A known response was already acknowledged. One out of order will be retransmitted.
        if (branch.sequence).is_some_and(|last| last.checked_add(1) != Some(sequence)) {
            return None;
        }
        branch.sequence = Some(sequence);
        let path = super::path_to(&branch.dialog.next_hop(), *path);
        let invite_sequence = super::receive::sequence(&invite.request);
        let builder = branch.dialog.request(Method::Prack)?;
        let builder = builder
            .header(
                HeaderName::RAck,
                format!("{sequence} {invite_sequence} INVITE"),
            )
            .ok()?;
        let prack = self.finish_request(builder, path)?;
        self.request(prack, path, Purpose::NoReplyNeeded, now);
        Some(())
    }

    /// Returns the early dialog of the branch with this tag.
    pub(super) fn early_dialog(&self, id: LegId, tag: &[u8]) -> Option<&EarlyDialog> {
        let LegState::Outgoing(invite) = &self.legs.get(&id)?.state else {
            return None;
        };
        let mut branches = invite.early.iter();
        branches.find(|early| early.dialog.remote_tag() == tag)
    }

    /// Returns the leg and the early dialog that a request belongs to.
    fn early_dialog_of(
        &mut self,
        id: LegId,
        request: &Request,
    ) -> Option<(&mut EarlyDialog, EarlyMedia<'_>)> {
        let dialog = DialogId::from_request(request)?;
        let SipLeg {
            state: LegState::Outgoing(invite),
            local,
            layout,
            ..
        } = self.legs.get_mut(&id)?
        else {
            return None;
        };
        let mut branches = invite.early.iter_mut();
        let early = branches.find(|early| early.dialog.matches(&dialog))?;
        Some((early, EarlyMedia { local, layout }))
    }

    /// Serves a request of the called party before its answer.
    pub(super) fn serve_in_early_dialog(
        &mut self,
        id: LegId,
        key: &TransactionKey,
        request: &Request,
        now: Instant,
    ) {
        let sequence = super::receive::sequence(request);
        let early = self.early_dialog_of(id, request);
        if !early.is_some_and(|(early, _)| early.dialog.accept_sequence(sequence)) {
            return self.respond_status(key, request, 500, now);
        }
        if let Some(unsupported) = unsupported_extensions(request) {
            return self.reject_extension(key, request, unsupported, now);
        }
        match request.method {
            Method::Update => self.update_early(id, key, request, now),
            Method::Info => self.on_info(id, key, request, now),
            Method::Options => self.respond_capabilities(key, request, now),
            // The INVITE of the endpoint is in progress (RFC 3261, section 14.2).
            Method::Invite => self.respond_status(key, request, 491, now),
            // A PRACK matches nothing (RFC 3262, section 3), and a called party must not send a BYE before its answer
            // (RFC 3261, section 15).
            Method::Prack | Method::Bye => self.respond_status(key, request, 481, now),
            _ => self.respond_status(key, request, 405, now),
        }
    }

    /// Answers an UPDATE (RFC 3311, section 5.2). An offer is rejected while the offer of the INVITE has no reliable
    /// answer.
    fn update_early(&mut self, id: LegId, key: &TransactionKey, request: &Request, now: Instant) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let offer = match parse_later_offer(request, self.media_rule(leg.path)) {
            Ok(offer) => offer,
            Err(status) => return self.respond_status(key, request, status, now),
        };
        let has_offer = offer.is_some();
        let answer = match self.answer_early(id, request, offer) {
            Ok(answer) => answer,
            Err(status) => return self.respond_status(key, request, status, now),
        };
        let Some(SipLeg { contact, path, .. }) = self.legs.get(&id) else {
            return;
        };
        let (contact, path) = (contact.clone(), *path);
        let builder = self.response(request, 200);
        let builder =
            builder.and_then(|builder| self.success_headers(builder, request, &contact, path));
        let builder = match answer {
            Some(answer) => builder.and_then(|builder| {
                let builder = builder.header(HeaderName::ContentType, sdp::CONTENT_TYPE);
                Some(builder.ok()?.body(answer))
            }),
            None => builder,
        };
        self.respond_or_abandon(key, builder, now);
        let early = self.early_dialog_of(id, request);
        let renegotiated = early.and_then(|(early, _)| early.renegotiated);
        if let Some(remote) = renegotiated.filter(|_| has_offer) {
            self.emit(id, Event::EarlyMedia { leg: id, remote });
        }
    }

    /// Takes over the offer of an UPDATE and returns the answer, or the status that rejects the offer.
    fn answer_early(
        &mut self,
        id: LegId,
        request: &Request,
        offer: Option<Description>,
    ) -> Result<Option<String>, u16> {
        let (early, media) = self.early_dialog_of(id, request).ok_or(481_u16)?;
        let answer = match offer {
            None => None,
            Some(_) if !early.is_answer_reliable => return Err(491),
            Some(offer) => {
                let local = media.local.as_mut().ok_or(488_u16)?;
                let crypto = offer.offered_key(local).map_err(|_| 488_u16)?;
                let remote = RemoteMedia {
                    crypto,
                    ..offer.remote()
                };
                early.renegotiated = Some(remote);
                local.version = local.version.wrapping_add(1);
                let answer = offer.answer(local, remote.codec);
                *local = preserve_srtp(*local, Some(&offer));
                *media.layout = offer.layout().clone();
                Some(answer)
            }
        };
        early.dialog.refresh_target(&request.headers);
        Ok(answer)
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
