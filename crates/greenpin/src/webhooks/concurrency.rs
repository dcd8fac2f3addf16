//! Concurrency of deliveries, in total and per endpoint: a slow, dead or flooded receiver delays
//! only its own deliveries.

use std::collections::HashMap;

use crate::store::{DueEndpoint, EndpointId, TenantId, Timestamp};

/// Maximum number of deliveries under way.
pub const MAX_DELIVERIES: u32 = 512;
/// Maximum number of deliveries under way to one endpoint.
pub const MAX_PER_ENDPOINT: u32 = 32;
/// Maximum number of deliveries under way to the endpoints of one tenant.
pub const MAX_PER_TENANT: u32 = 128;
/// Number of deliveries under way to an endpoint without a history.
pub const INITIAL_PER_ENDPOINT: u32 = 4;

/// Slots of all endpoints. Each successful delivery doubles the slots of its endpoint; each failed
/// one reduces them to one.
#[derive(Default)]
pub(super) struct ConcurrencyWindows {
    occupied: u32,
    endpoints: HashMap<EndpointId, Window>,
    tenants: HashMap<TenantId, u32>,
}

struct Window {
    occupied: u32,
    width: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            occupied: 0,
            width: INITIAL_PER_ENDPOINT,
        }
    }
}

impl ConcurrencyWindows {
    /// Returns the number of deliveries that each due endpoint may start. If the slots do not
    /// suffice, they are shared equally, and the endpoints that wait longest come first. A tenant gets at most
    /// [`MAX_PER_TENANT`], however many endpoints it has.
    pub(super) fn share(
        &self,
        mut due: Vec<DueEndpoint>,
        now: Timestamp,
    ) -> Vec<(DueEndpoint, u32)> {
        due.retain(|endpoint| endpoint.due_at <= now && self.free(&endpoint.endpoint_id) > 0);
        due.sort_by_key(|endpoint| endpoint.due_at);
        let mut left = MAX_DELIVERIES.saturating_sub(self.occupied);
        let count = u32::try_from(due.len()).unwrap_or(u32::MAX).max(1);
        let fair = (left / count).max(1);
        let mut tenants = self.tenants.clone();
        let mut shares = Vec::new();
        for endpoint in due {
            let of_tenant = tenants.entry(endpoint.tenant_id.clone()).or_default();
            let left_of_tenant = MAX_PER_TENANT.saturating_sub(*of_tenant);
            let free = self.free(&endpoint.endpoint_id);
            let share = free.min(fair).min(left).min(left_of_tenant);
            if share > 0 {
                left -= share;
                *of_tenant = of_tenant.saturating_add(share);
                shares.push((endpoint, share));
            }
        }
        shares
    }

    fn free(&self, endpoint: &EndpointId) -> u32 {
        self.endpoints
            .get(endpoint)
            .map_or(INITIAL_PER_ENDPOINT, |window| {
                window.width.saturating_sub(window.occupied)
            })
    }

    /// Occupies a slot.
    pub(super) fn occupy(&mut self, tenant: &TenantId, endpoint: &EndpointId) {
        self.occupied = self.occupied.saturating_add(1);
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        *of_tenant = of_tenant.saturating_add(1);
        let window = self.endpoints.entry(endpoint.clone()).or_default();
        window.occupied = window.occupied.saturating_add(1);
    }

    /// Frees a slot. `delivered`: the endpoint accepted the delivery.
    pub(super) fn free_slot(&mut self, tenant: &TenantId, endpoint: &EndpointId, delivered: bool) {
        self.occupied = self.occupied.saturating_sub(1);
        if let Some(of_tenant) = self.tenants.get_mut(tenant) {
            *of_tenant = of_tenant.saturating_sub(1);
            if *of_tenant == 0 {
                self.tenants.remove(tenant);
            }
        }
        let Some(window) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        window.occupied = window.occupied.saturating_sub(1);
        window.width = if delivered {
            window.width.saturating_mul(2).min(MAX_PER_ENDPOINT)
        } else {
            1
        };
    }

    /// Removes endpoints without a due delivery.
    pub(super) fn retain_due(&mut self, due: &[DueEndpoint]) {
        let known: std::collections::HashSet<&EndpointId> =
            due.iter().map(|endpoint| &endpoint.endpoint_id).collect();
        self.endpoints
            .retain(|endpoint, window| window.occupied > 0 || known.contains(endpoint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn tenant(index: usize) -> TenantId {
        TenantId::parse(&format!("tenant-{index}")).unwrap()
    }

    /// Returns due endpoints, each of another tenant.
    fn due(count: usize) -> Vec<DueEndpoint> {
        (0..count)
            .map(|index| DueEndpoint {
                endpoint_id: EndpointId::new(NOW),
                tenant_id: tenant(index),
                due_at: NOW,
            })
            .collect()
    }

    fn deliver(windows: &mut ConcurrencyWindows, endpoint: &EndpointId, delivered: bool) {
        windows.occupy(&tenant(0), endpoint);
        windows.free_slot(&tenant(0), endpoint, delivered);
    }

    #[test]
    fn a_tenant_with_many_slow_endpoints_leaves_slots_to_the_others() {
        let mut windows = ConcurrencyWindows::default();
        let mut due = due(21);
        for endpoint in &mut due[..20] {
            endpoint.tenant_id = tenant(0);
            (0..9).for_each(|_| deliver(&mut windows, &endpoint.endpoint_id, true));
        }
        let other = due[20].clone();
        for _ in 0..20 {
            let shares = windows.share(due[..20].to_vec(), NOW);
            for (endpoint, share) in shares {
                (0..share).for_each(|_| windows.occupy(&tenant(0), &endpoint.endpoint_id));
            }
        }
        assert_eq!(windows.occupied, MAX_PER_TENANT);
        let shares = windows.share(due, NOW);
        assert_eq!(shares, [(other, INITIAL_PER_ENDPOINT)]);
    }

    #[test]
    fn an_endpoint_that_accepts_deliveries_gets_more_slots_and_a_failing_one_gets_one() {
        let (mut windows, due) = (ConcurrencyWindows::default(), due(1));
        let width = |windows: &ConcurrencyWindows| {
            windows
                .share(due.clone(), NOW)
                .first()
                .map_or(0, |share| share.1)
        };
        assert_eq!(width(&windows), INITIAL_PER_ENDPOINT);
        let endpoint = &due[0].endpoint_id;
        (0..9).for_each(|_| deliver(&mut windows, endpoint, true));
        assert_eq!(width(&windows), MAX_PER_ENDPOINT);
        deliver(&mut windows, endpoint, false);
        assert_eq!(width(&windows), 1);
        windows.occupy(&tenant(0), endpoint);
        assert_eq!(width(&windows), 0, "its only slot is occupied");
    }

    #[test]
    fn an_endpoint_that_hangs_does_not_use_the_slots_of_others() {
        let (mut windows, due) = (ConcurrencyWindows::default(), due(2));
        (0..INITIAL_PER_ENDPOINT).for_each(|_| windows.occupy(&tenant(0), &due[0].endpoint_id));
        assert_eq!(
            windows.share(due.clone(), NOW),
            [(due[1].clone(), INITIAL_PER_ENDPOINT)]
        );
    }

    #[test]
    fn more_endpoints_than_slots_get_one_each_up_to_the_total() {
        let mut windows = ConcurrencyWindows::default();
        let due = due(1000);
        let shares = windows.share(due.clone(), NOW);
        assert_eq!(shares.len(), MAX_DELIVERIES as usize);
        assert!(shares.iter().all(|share| share.1 == 1));
        for (index, (endpoint, _)) in shares.iter().enumerate() {
            windows.occupy(&tenant(index), &endpoint.endpoint_id);
        }
        assert!(windows.share(due, NOW).is_empty());
    }

    #[test]
    fn an_endpoint_that_is_due_later_gets_no_slot() {
        let later = DueEndpoint {
            endpoint_id: EndpointId::new(NOW),
            tenant_id: tenant(0),
            due_at: Timestamp::from_micros(1_000_001),
        };
        assert!(
            ConcurrencyWindows::default()
                .share(vec![later], NOW)
                .is_empty()
        );
    }

    #[test]
    fn an_idle_endpoint_is_removed_once_nothing_is_under_way() {
        let (mut windows, due) = (ConcurrencyWindows::default(), due(2));
        deliver(&mut windows, &due[0].endpoint_id, false);
        windows.occupy(&tenant(1), &due[1].endpoint_id);
        windows.retain_due(&[]);
        assert_eq!(windows.endpoints.len(), 1);
        windows.retain_due(&due);
        windows.free_slot(&tenant(1), &due[1].endpoint_id, true);
        windows.retain_due(&[]);
        assert!(windows.endpoints.is_empty());
    }
}
