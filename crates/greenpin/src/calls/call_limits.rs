//! Call limits of each tenant on this node.

use std::collections::HashMap;
use std::time::Instant;

use call::{PhoneNumber, words};
use rlibphonenumber::Region;

use crate::limits::token_bucket::TokenBucket;
use crate::numbering;
use crate::store::{CallLimit, TenantId};

/// Seconds in an hour.
const HOUR: f64 = 3600.0;

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

words! {
    /// Reason why a number may not be dialled.
    pub enum DestinationRefusal {
        /// The rules of the tenant deny it.
        Tenant = "tenant",
        /// No trunk takes it.
        Trunks = "trunks",
        /// The tenant has reached its hourly limit of calls to the country.
        HourlyLimit = "hourly_limit",
    }
}

/// Hourly counters of the countries that each tenant with a limit has dialled. The number of countries bounds them.
#[derive(Default)]
pub(super) struct DestinationLimiter(HashMap<(TenantId, Option<Region>), TokenBucket>);

impl DestinationLimiter {
    /// Admits a leg to a number below the hourly limit of its country, and counts it. Numbers outside every country
    /// share one counter.
    pub(super) fn admit(
        &mut self,
        tenant: &TenantId,
        number: PhoneNumber,
        per_hour: u32,
        now: Instant,
    ) -> bool {
        let key = (tenant.clone(), numbering::region(number));
        let bucket = self.0.entry(key);
        let bucket = bucket.or_insert_with(|| TokenBucket::full(per_hour, now));
        let is_admitted = bucket.refill(f64::from(per_hour) / HOUR, per_hour, now) >= 1.0;
        if is_admitted {
            bucket.consume();
        }
        is_admitted
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

    #[test]
    fn each_country_has_its_own_hourly_limit() {
        let (mut limits, start) = (DestinationLimiter::default(), Instant::now());
        let [acme, other] = ["acme", "other"].map(|name| TenantId::parse(name).unwrap());
        let mut admit = |tenant: &TenantId, number: &str, minutes: u64| {
            let number = PhoneNumber::parse(number).unwrap();
            limits.admit(tenant, number, 2, start + Duration::from_secs(60 * minutes))
        };
        let india = ["+919900000001", "+918800000001", "+919900000002"];
        assert_eq!(
            india.map(|number| admit(&acme, number, 0)),
            [true, true, false]
        );
        assert!(admit(&acme, "+4915550000001", 0) && admit(&other, india[0], 0));
        let after_half_an_hour = [29, 30, 30].map(|minutes| admit(&acme, india[0], minutes));
        assert_eq!(after_half_an_hour, [false, true, false]);
    }
}
