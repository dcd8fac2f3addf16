//! Where the audio of both legs goes: to us, or past us.

use std::mem;

use call::{Input, Side};
use signalling::sdp::RemoteMedia;
use signalling::{Network, Redirection};

use super::{Leg, MaskedCall};
use crate::calls::call_loop::Role;
use crate::calls::context::Plant;
use crate::calls::direct_media::{Facts, Step};
use crate::calls::media::{LegMedia, Remote, SourceRule};

impl MaskedCall {
    /// A party named its audio, or changed it.
    pub(in crate::calls) fn media_changed(
        &mut self,
        role: Role,
        remote: RemoteMedia,
        plant: &mut Plant,
    ) {
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        if let Some(leg) = leg {
            leg.remote = Some(remote);
            connect(leg, plant);
        }
        if self.talking_to.is_some() {
            self.direct.changed(role.side());
            self.leg(role.side())
                .and_then(|leg| leg.stream.as_ref())
                .into_iter()
                .for_each(LegMedia::interrupt);
            self.route_media(plant);
        }
    }

    /// A party's gateway does what our re-INVITE asked for.
    pub(in crate::calls) fn redirected(
        &mut self,
        role: Role,
        remote: RemoteMedia,
        plant: &mut Plant,
    ) {
        let side = role.side();
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        let Some(leg) = leg else { return };
        let before = leg.remote.replace(remote);
        connect(leg, plant);
        let place = |media: RemoteMedia| (media.rtp, media.payload_type, media.telephone_event);
        // The caller's gateway was told of the callee's before this one answered.
        if side == Side::Callee && before.map(place) != Some(place(remote)) {
            self.direct.misled();
        }
        self.direct.accepted(side);
        self.route_media(plant);
    }

    /// A party's gateway refused our re-INVITE.
    pub(in crate::calls) fn not_redirected(&mut self, role: Role, status: u16, plant: &mut Plant) {
        tracing::info!(call_sid = %self.sid, status, "a gateway refused to change where its audio goes");
        self.direct.refused(role.side());
        self.route_media(plant);
    }

    /// Lets the two gateways talk to each other, or brings their audio back, as the call is now.
    pub(super) fn route_media(&mut self, plant: &mut Plant) {
        if self.talking_to.is_none() || self.ending.is_some() {
            return;
        }
        while let Some(step) = self.direct.step(self.facts(plant)) {
            match step {
                Step::Send(side) => self.redirect(side, true, plant),
                Step::Return(side) => self.redirect(side, false, plant),
                Step::GiveUp => return self.step(Input::EndRequested, plant),
            }
        }
        if !self.direct.is_away() {
            for (side, digit) in mem::take(&mut self.waiting_keys) {
                let stream = self.leg(side).and_then(|leg| leg.stream.as_ref());
                stream
                    .into_iter()
                    .for_each(|stream| stream.send_digits(vec![digit]));
            }
        }
    }

    fn facts(&self, plant: &Plant) -> Facts {
        let legs = self.leg(Side::Caller).zip(self.leg(Side::Callee));
        let allows = |leg: &Leg| {
            let trunk = plant.settings.trunks.get(leg.trunk);
            trunk.is_some_and(|trunk| trunk.direct_media && !trunk.symmetric_rtp)
        };
        let informs = |leg: &Leg| leg.keys.counts().info > 0;
        Facts {
            allowed: legs.is_some_and(|(caller, callee)| allows(caller) && allows(callee)),
            bridged: self.talking_to.is_some() && self.ending.is_none(),
            needed: self.needs_audio
                || legs.is_some_and(|(caller, callee)| informs(caller) || informs(callee)),
            media: legs.and_then(|(caller, callee)| caller.remote.zip(callee.remote)),
        }
    }

    /// All that a gateway learns of the other one is in the redirection.
    fn redirect(&self, side: Side, away: bool, plant: &mut Plant) {
        let other = match side {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        };
        let Some((leg, other)) = self.leg(side).zip(self.leg(other)) else {
            return;
        };
        let Some((own, there)) = leg.remote.zip(other.remote) else {
            return;
        };
        let redirection = match away {
            true => Redirection {
                rtp: Some(there.rtp),
                codec: there.codec,
                payload_type: there.payload_type,
                opus: there.opus,
                telephone_event: there.telephone_event,
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
        plant
            .agent
            .command(|endpoint, now| endpoint.redirect(id, redirection, now));
    }

    pub(super) fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::Caller => Some(&self.caller),
            Side::Callee => self.callees.get(&self.talking_to?).map(Box::as_ref),
        }
    }
}

/// Lets a leg's stream talk to its peer, if both are known.
pub(super) fn connect(leg: &Leg, plant: &Plant) {
    let (Some(stream), Some(remote)) = (&leg.stream, leg.remote) else {
        return;
    };
    let trunk = plant.settings.trunks.get(leg.trunk);
    let source = match trunk.filter(|trunk| trunk.symmetric_rtp) {
        Some(_) => {
            let mut networks = plant.agent.networks(leg.trunk);
            // One who was let in by a password is in none of them.
            networks.extend(leg.source.map(Network::single));
            SourceRule::Latch(networks)
        }
        None => SourceRule::Negotiated,
    };
    stream.connect(Remote::negotiated(remote, source));
}
