//! Refused INVITEs, for the operator: the last ones of each trunk and of each unknown source.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::limits::log_limit::LogLimit;
use crate::store::Timestamp;

/// Maximum number of refused INVITEs kept for a trunk, and for an unknown source.
pub const MAX_REFUSED_INVITES: usize = 100;
/// Maximum number of unknown sources with refused INVITEs. Beyond it, the source that was refused longest ago is removed.
pub const MAX_REFUSED_SOURCES: usize = 64;

/// Limit of the lines on refused INVITEs.
static LOG_LIMIT: LogLimit = LogLimit::new();

/// Refused INVITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedInvite {
    /// Time of the refusal.
    pub at: Timestamp,
    /// Address of the sender.
    pub source: IpAddr,
    /// Name of the trunk; `None` for an unknown source.
    pub trunk: Option<String>,
    /// SIP status of the response.
    pub status: u16,
    /// Reason.
    pub reason: &'static str,
    /// Masked called number; `None` if there is none.
    pub number: Option<String>,
}

/// Refused INVITEs within bounds.
#[derive(Default)]
pub(super) struct RefusedInvites {
    trunks: HashMap<String, VecDeque<RefusedInvite>>,
    sources: HashMap<IpAddr, VecDeque<RefusedInvite>>,
}

impl RefusedInvites {
    /// Adds and logs a refused INVITE.
    pub(super) fn add(&mut self, refused: RefusedInvite) {
        if let Some(suppressed) = LOG_LIMIT.allow() {
            let RefusedInvite {
                source,
                trunk,
                status,
                reason,
                ..
            } = &refused;
            tracing::info!(%source, trunk, status, reason, suppressed, "INVITE refused");
        }
        let list = match &refused.trunk {
            Some(trunk) => self.trunks.entry(trunk.clone()).or_default(),
            None => {
                self.make_room(refused.source);
                self.sources.entry(refused.source).or_default()
            }
        };
        if list.len() >= MAX_REFUSED_INVITES {
            list.pop_front();
        }
        list.push_back(refused);
    }

    fn make_room(&mut self, source: IpAddr) {
        if self.sources.len() < MAX_REFUSED_SOURCES || self.sources.contains_key(&source) {
            return;
        }
        let last = |list: &VecDeque<RefusedInvite>| list.back().map(|refused| refused.at);
        let oldest = self.sources.iter().min_by_key(|(_, list)| last(list));
        if let Some(oldest) = oldest.map(|(source, _)| *source) {
            self.sources.remove(&oldest);
        }
    }

    /// Returns all refused INVITEs, newest first.
    pub(super) fn list(&self) -> Vec<RefusedInvite> {
        let lists = self.trunks.values().chain(self.sources.values());
        let mut all: Vec<RefusedInvite> = lists.flatten().cloned().collect();
        all.sort_by_key(|refused| std::cmp::Reverse(refused.at));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(second: i64, source: [u8; 4], trunk: Option<&str>) -> RefusedInvite {
        RefusedInvite {
            at: Timestamp::from_micros(second * 1_000_000),
            source: source.into(),
            trunk: trunk.map(ToOwned::to_owned),
            status: 403,
            reason: "unknown source",
            number: None,
        }
    }

    #[test]
    fn each_trunk_and_source_keeps_its_last_ones() {
        let mut list = RefusedInvites::default();
        let bound = i64::try_from(MAX_REFUSED_INVITES).unwrap();
        for second in 0..=bound {
            list.add(refused(second, [192, 0, 2, 1], Some("carrier")));
            list.add(refused(second, [198, 51, 100, 1], None));
        }
        let all = list.list();
        assert_eq!(all.len(), 2 * MAX_REFUSED_INVITES);
        assert_eq!(all[0].at, Timestamp::from_micros(bound * 1_000_000));
        assert_eq!(all.last().unwrap().at, Timestamp::from_micros(1_000_000));
    }

    #[test]
    fn the_source_refused_longest_ago_makes_room_for_a_new_one() {
        let mut list = RefusedInvites::default();
        for source in 0..=u8::try_from(MAX_REFUSED_SOURCES).unwrap() {
            list.add(refused(source.into(), [198, 51, 100, source], None));
        }
        let all = list.list();
        assert_eq!(all.len(), MAX_REFUSED_SOURCES);
        assert!(
            all.iter()
                .all(|refused| refused.source != IpAddr::from([198, 51, 100, 0]))
        );
    }
}
