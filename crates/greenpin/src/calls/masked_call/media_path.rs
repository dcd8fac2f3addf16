//! Media path of a call: relayed by the server, or direct between the gateways.

use std::mem;

use call::{DialAttempt, Input, Side};
use signalling::sdp::RemoteMedia;
use signalling::{Network, Redirection};

use super::{CallLeg, MaskedCall};
use crate::calls::context::EngineContext;
use crate::calls::direct_media::{MediaFacts, RedirectStep};
use crate::calls::leg_owner::Role;
use crate::calls::media::{LegMedia, Remote, SourceRule};

impl MaskedCall {
    /// Handles new or changed media of a party.
    pub(in crate::calls) fn media_changed(
        &mut self,
        role: Role,
        remote: RemoteMedia,
        context: &mut EngineContext,
    ) {
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        if let Some(leg) = leg {
            leg.remote = Some(remote);
            connect(leg, context);
        }
        if self.bridged_attempt.is_some() {
            self.direct.on_changed(role.side());
            self.leg(role.side())
                .and_then(|leg| leg.stream.as_ref())
                .into_iter()
                .for_each(LegMedia::interrupt);
            self.route_media(context);
        }
    }

    /// Handles the audio that the network of a dialled party sends before the answer, if its trunk allows it. Nothing is
    /// sent to it.
    pub(in crate::calls) fn early_media(
        &mut self,
        attempt: DialAttempt,
        remote: RemoteMedia,
        context: &mut EngineContext,
    ) {
        let Some(leg) = self.callees.get(&attempt) else {
            return;
        };
        let trunk = context.settings.trunks.get(leg.trunk);
        if !trunk.is_some_and(|trunk| trunk.early_media) {
            return;
        }
        let silent = RemoteMedia {
            send: false,
            ..remote
        };
        connect_to(leg, silent, context);
        let input = match remote.receive {
            true => Input::EarlyMediaStarted(attempt),
            false => Input::EarlyMediaStopped(attempt),
        };
        self.step(input, context);
    }

    /// Handles the acceptance of a re-INVITE by a party's gateway.
    pub(in crate::calls) fn redirected(
        &mut self,
        role: Role,
        remote: RemoteMedia,
        context: &mut EngineContext,
    ) {
        let side = role.side();
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        let Some(leg) = leg else { return };
        let before = leg.remote.replace(remote);
        connect(leg, context);
        let format = |media: RemoteMedia| (media.rtp, media.payload_type, media.telephone_event);
        // The caller's gateway received the callee's address before this answer.
        if side == Side::Callee && before.map(format) != Some(format(remote)) {
            self.direct.address_changed();
        }
        self.direct.on_accepted(side);
        self.route_media(context);
    }

    /// Handles the refusal of a re-INVITE by a party's gateway.
    pub(in crate::calls) fn redirect_failed(
        &mut self,
        role: Role,
        status: u16,
        context: &mut EngineContext,
    ) {
        tracing::info!(call_sid = %self.sid, status, "gateway refused a redirection of its media");
        self.direct.on_refused(role.side());
        self.route_media(context);
    }

    /// Moves the media to the path that fits the present state of the call.
    pub(super) fn route_media(&mut self, context: &mut EngineContext) {
        if self.bridged_attempt.is_none() || self.ending.is_some() {
            return;
        }
        while let Some(step) = self.direct.step(self.media_facts(context)) {
            match step {
                RedirectStep::Release(side) => self.redirect(side, true, context),
                RedirectStep::Reclaim(side) => self.redirect(side, false, context),
                RedirectStep::EndCall => return self.step(Input::EndRequested, context),
            }
        }
        if !self.direct.may_bypass_server() {
            for (side, digit) in mem::take(&mut self.queued_keys) {
                let stream = self.leg(side).and_then(|leg| leg.stream.as_ref());
                stream
                    .into_iter()
                    .for_each(|stream| stream.send_digits(vec![digit]));
            }
        }
    }

    fn media_facts(&self, context: &EngineContext) -> MediaFacts {
        let legs = self.leg(Side::Caller).zip(self.leg(Side::Callee));
        let allows_direct = |leg: &CallLeg| {
            let trunk = context.settings.trunks.get(leg.trunk);
            trunk.is_some_and(|trunk| trunk.direct_media && !trunk.symmetric_rtp)
        };
        let uses_info = |leg: &CallLeg| leg.keys.counts().info > 0;
        MediaFacts {
            allowed: legs
                .is_some_and(|(caller, callee)| allows_direct(caller) && allows_direct(callee)),
            bridged: self.bridged_attempt.is_some() && self.ending.is_none(),
            needed: self.needs_audio
                || legs.is_some_and(|(caller, callee)| uses_info(caller) || uses_info(callee)),
            media: legs.and_then(|(caller, callee)| caller.remote.zip(callee.remote)),
        }
    }

    /// Asks a gateway to send its media to the other gateway or to the server. The redirection holds everything that a
    /// gateway learns about the other gateway.
    fn redirect(&self, side: Side, to_peer: bool, context: &mut EngineContext) {
        let other = match side {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        };
        let Some((leg, other)) = self.leg(side).zip(self.leg(other)) else {
            return;
        };
        let Some((own, target)) = leg.remote.zip(other.remote) else {
            return;
        };
        let redirection = match to_peer {
            true => Redirection {
                rtp: Some(target.rtp),
                codec: target.codec,
                payload_type: target.payload_type,
                opus: target.opus,
                telephone_event: target.telephone_event,
            },
            false => {
                leg.stream.iter().for_each(LegMedia::interrupt);
                let RemoteMedia {
                    codec,
                    payload_type,
                    opus,
                    telephone_event,
                    ..
                } = own;
                Redirection {
                    rtp: None,
                    codec,
                    payload_type,
                    opus,
                    telephone_event,
                }
            }
        };
        let id = leg.id;
        context
            .agent
            .command(|endpoint, now| endpoint.redirect(id, redirection, now));
    }

    pub(super) fn leg(&self, side: Side) -> Option<&CallLeg> {
        match side {
            Side::Caller => Some(&self.caller),
            Side::Callee => self.callees.get(&self.bridged_attempt?).map(Box::as_ref),
        }
    }
}

/// Connects a leg's stream to its peer, if both are known.
pub(super) fn connect(leg: &CallLeg, context: &EngineContext) {
    if let Some(remote) = leg.remote {
        connect_to(leg, remote, context);
    }
}

/// Connects a leg's stream to this media of its peer.
fn connect_to(leg: &CallLeg, remote: RemoteMedia, context: &EngineContext) {
    let Some(stream) = &leg.stream else { return };
    let trunk = context.settings.trunks.get(leg.trunk);
    let source = match trunk.filter(|trunk| trunk.symmetric_rtp) {
        Some(trunk) if !trunk.sip.media_from.is_empty() => {
            SourceRule::Latch(trunk.sip.media_from.clone())
        }
        Some(_) => {
            let mut networks = context.agent.networks(leg.trunk);
            // A caller authenticated by digest may be outside the trunk's networks.
            networks.extend(leg.source.map(Network::single));
            SourceRule::Latch(networks)
        }
        None => SourceRule::Negotiated,
    };
    stream.connect(Remote {
        proven: leg.proven,
        ..Remote::negotiated(remote, source)
    });
}
