//! Call limits of each tenant on this node.

use std::collections::HashMap;
use std::time::Instant;

use crate::limits::token_bucket::TokenBucket;
use crate::store::{CallLimit, TenantId};

/// Counters of every tenant with a call since the start.
#[derive(Default)]
pub(super) struct CallLimiter(HashMap<TenantId, TenantCalls>);

struct TenantCalls {
    open: u32,
    rate: TokenBucket,
}

impl CallLimiter {
    /// Admits a call if the tenant is below both limits, and counts it.
    pub(super) fn admit(&mut self, tenant: &TenantId, limit: CallLimit, now: Instant) -> bool {
        let per_second = limit.calls_per_second;
        let new = || TenantCalls {
            open: 0,
            rate: TokenBucket::full(per_second, now),
        };
        let calls = self.0.entry(tenant.clone()).or_insert_with(new);
        let admitted =
            calls.open < limit.max_calls && calls.rate.refill(per_second, per_second, now) >= 1.0;
        if admitted {
            calls.open = calls.open.saturating_add(1);
            calls.rate.consume();
        }
        admitted
    }

    /// Releases an admitted call after its end.
    pub(super) fn release(&mut self, tenant: &TenantId) {
        if let Some(calls) = self.0.get_mut(tenant) {
            calls.open = calls.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_tenant_has_its_own_limits_on_concurrent_calls_and_calls_per_second() {
        let (mut limits, start) = (CallLimiter::default(), Instant::now());
        let [acme, other] = ["acme", "other"].map(|name| TenantId::parse(name).unwrap());
        let limit = CallLimit {
            max_calls: 2,
            calls_per_second: 3,
        };
        let mut admit = |tenant: &TenantId, after| {
            limits.admit(tenant, limit, start + Duration::from_secs(after))
        };
        assert_eq!(
            [admit(&acme, 0), admit(&acme, 0), admit(&acme, 0)],
            [true, true, false]
        );
        assert!(admit(&other, 0), "limits of tenants are independent");
        limits.release(&acme);
        let mut admit = |after| limits.admit(&acme, limit, start + Duration::from_secs(after));
        assert!(admit(0));
        limits.release(&acme);
        let mut admit = |after| limits.admit(&acme, limit, start + Duration::from_secs(after));
        assert_eq!([admit(0), admit(1)], [false, true], "three per second");
    }
}
