//! How many deliveries go at once, and how many of them to one endpoint: a receiver that is slow, dead or flooded holds
//! up nobody but itself.

use std::collections::HashMap;

use crate::store::{DueEndpoint, EndpointId, Timestamp};

/// Deliveries under way at once.
const ALL: u32 = 512;
/// Those to one endpoint, once it has shown that it takes them.
const MOST: u32 = 32;
/// Those to an endpoint of which nothing is known yet.
const FIRST: u32 = 4;

/// The places of all endpoints. One doubles its places with each delivery that it takes, and has a single one left
/// after each that it does not.
#[derive(Default)]
pub(super) struct Places {
    taken: u32,
    endpoints: HashMap<EndpointId, Endpoint>,
}

struct Endpoint {
    taken: u32,
    width: u32,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            taken: 0,
            width: FIRST,
        }
    }
}

impl Places {
    /// How many deliveries each endpoint can have now, of those for which something is due. When all places together
    /// do not suffice, each gets an equal share of them, and those that wait longest come first.
    pub(super) fn share(
        &self,
        mut due: Vec<DueEndpoint>,
        now: Timestamp,
    ) -> Vec<(EndpointId, u32)> {
        due.retain(|one| one.due_at <= now && self.free(&one.endpoint_id) > 0);
        due.sort_by_key(|one| one.due_at);
        let mut left = ALL.saturating_sub(self.taken);
        let count = u32::try_from(due.len()).unwrap_or(u32::MAX).max(1);
        let fair = (left / count).max(1);
        let mut shares = Vec::new();
        for one in due {
            let share = self.free(&one.endpoint_id).min(fair).min(left);
            if share > 0 {
                left -= share;
                shares.push((one.endpoint_id, share));
            }
        }
        shares
    }

    fn free(&self, endpoint: &EndpointId) -> u32 {
        self.endpoints
            .get(endpoint)
            .map_or(FIRST, |one| one.width.saturating_sub(one.taken))
    }

    /// A delivery goes.
    pub(super) fn take(&mut self, endpoint: &EndpointId) {
        self.taken = self.taken.saturating_add(1);
        let one = self.endpoints.entry(endpoint.clone()).or_default();
        one.taken = one.taken.saturating_add(1);
    }

    /// A delivery is over; `well`: the endpoint took it.
    pub(super) fn give_back(&mut self, endpoint: &EndpointId, well: bool) {
        self.taken = self.taken.saturating_sub(1);
        let Some(one) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        one.taken = one.taken.saturating_sub(1);
        one.width = if well {
            one.width.saturating_mul(2).min(MOST)
        } else {
            1
        };
    }

    /// Forgets endpoints to which nothing is due any more.
    pub(super) fn keep(&mut self, due: &[DueEndpoint]) {
        let known: std::collections::HashSet<&EndpointId> =
            due.iter().map(|one| &one.endpoint_id).collect();
        self.endpoints
            .retain(|endpoint, one| one.taken > 0 || known.contains(endpoint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn due(count: usize) -> Vec<DueEndpoint> {
        let endpoint_id = || EndpointId::new(NOW);
        (0..count)
            .map(|_| DueEndpoint {
                endpoint_id: endpoint_id(),
                due_at: NOW,
            })
            .collect()
    }

    fn settle(places: &mut Places, endpoint: &EndpointId, well: bool) {
        places.take(endpoint);
        places.give_back(endpoint, well);
    }

    #[test]
    fn an_endpoint_that_takes_everything_gets_more_at_once_and_one_that_does_not_gets_one() {
        let (mut places, due) = (Places::default(), due(1));
        let width = |places: &Places| {
            places
                .share(due.clone(), NOW)
                .first()
                .map_or(0, |share| share.1)
        };
        assert_eq!(width(&places), FIRST);
        let endpoint = &due[0].endpoint_id;
        (0..9).for_each(|_| settle(&mut places, endpoint, true));
        assert_eq!(width(&places), MOST);
        settle(&mut places, endpoint, false);
        assert_eq!(width(&places), 1);
        places.take(endpoint);
        assert_eq!(width(&places), 0, "its only place is taken");
    }

    #[test]
    fn one_that_hangs_with_all_its_places_leaves_the_others_theirs() {
        let (mut places, due) = (Places::default(), due(2));
        (0..FIRST).for_each(|_| places.take(&due[0].endpoint_id));
        assert_eq!(
            places.share(due.clone(), NOW),
            [(due[1].endpoint_id.clone(), FIRST)]
        );
    }

    #[test]
    fn more_endpoints_than_places_get_one_each_and_all_together_no_more_than_there_are() {
        let mut places = Places::default();
        let due = due(1000);
        let shares = places.share(due.clone(), NOW);
        assert_eq!(shares.len(), ALL as usize);
        assert!(shares.iter().all(|share| share.1 == 1));
        shares
            .iter()
            .for_each(|(endpoint, _)| places.take(endpoint));
        assert!(places.share(due, NOW).is_empty());
    }

    #[test]
    fn what_is_due_later_gets_nothing_now() {
        let later = DueEndpoint {
            endpoint_id: EndpointId::new(NOW),
            due_at: Timestamp::from_micros(1_000_001),
        };
        assert!(Places::default().share(vec![later], NOW).is_empty());
    }

    #[test]
    fn an_endpoint_without_anything_due_is_forgotten_once_nothing_is_under_way() {
        let (mut places, due) = (Places::default(), due(2));
        settle(&mut places, &due[0].endpoint_id, false);
        places.take(&due[1].endpoint_id);
        places.keep(&[]);
        assert_eq!(places.endpoints.len(), 1);
        places.keep(&due);
        places.give_back(&due[1].endpoint_id, true);
        places.keep(&[]);
        assert!(places.endpoints.is_empty());
    }
}
