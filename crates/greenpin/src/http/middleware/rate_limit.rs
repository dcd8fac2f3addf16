//! Rate limits in memory, as token buckets: requests of each tenant, and wrong credentials of each address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::client_address::{ClientAddress, source_network};
use crate::limits::token_bucket::TokenBucket;
use crate::metrics::METRICS;
use crate::store::{RateLimit, TenantId};

/// Wrong credentials allowed per address: a burst of 20, then one per second.
pub const FAILURE_LIMIT: RateLimit = RateLimit {
    requests_per_second: 1,
    burst: 20,
};
/// Maximum number of tracked addresses. Beyond it, addresses with a full bucket are evicted, then all.
const MAX_SOURCES: usize = 10_000;

static RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Token buckets of this process.
#[derive(Default)]
pub(crate) struct RateLimiter {
    tenants: Mutex<HashMap<TenantId, TokenBucket>>,
    sources: Mutex<HashMap<IpAddr, TokenBucket>>,
}

/// Result of a rate limit check, with the values of the response headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimitResult {
    pub(crate) allowed: bool,
    /// Size of the bucket, in requests.
    limit: u32,
    /// Requests left in the bucket.
    remaining: u32,
    /// Seconds until the bucket is full.
    reset: u64,
    /// Seconds until the next request passes.
    pub(crate) retry_after: u64,
}

impl RateLimiter {
    /// Counts one request of a tenant with this limit.
    pub(crate) fn check_request(
        &self,
        tenant: &TenantId,
        limit: RateLimit,
        now: Instant,
    ) -> RateLimitResult {
        consume_token(&self.tenants, tenant.clone(), limit, now)
    }

    /// Counts a rejected credential from the address of the request.
    pub(crate) fn count_failure(&self, extensions: &Extensions, now: Instant) -> RateLimitResult {
        let peer = extensions.get::<ClientAddress>().map(|peer| peer.0);
        let source = source_network(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        METRICS.http_wrong_credentials.inc();
        tracing::warn!(%source, "wrong credentials");
        evict_idle_sources(&self.sources, now);
        consume_token(&self.sources, source, FAILURE_LIMIT, now)
    }
}

fn consume_token<K: Eq + Hash>(
    buckets: &Mutex<HashMap<K, TokenBucket>>,
    key: K,
    limit: RateLimit,
    now: Instant,
) -> RateLimitResult {
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = buckets
        .entry(key)
        .or_insert_with(|| TokenBucket::full(limit.burst, now));
    RateLimitResult::consume(bucket, limit, now)
}

fn evict_idle_sources(sources: &Mutex<HashMap<IpAddr, TokenBucket>>, now: Instant) {
    let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
    if sources.len() >= MAX_SOURCES {
        sources.retain(|_, bucket| {
            bucket.refill(FAILURE_LIMIT.requests_per_second, FAILURE_LIMIT.burst, now)
                < FAILURE_LIMIT.burst.into()
        });
        if sources.len() >= MAX_SOURCES {
            sources.clear();
        }
    }
}

impl RateLimitResult {
    /// Removes a token for a request, if the bucket has one.
    fn consume(bucket: &mut TokenBucket, limit: RateLimit, now: Instant) -> Self {
        let filled = bucket.refill(limit.requests_per_second, limit.burst, now);
        let allowed = filled >= 1.0;
        let tokens = if allowed { bucket.consume() } else { filled };
        let rate = f64::from(limit.requests_per_second.max(1));
        let seconds = |tokens: f64| (tokens.max(0.0) / rate).ceil() as u64;
        Self {
            allowed,
            limit: limit.burst,
            remaining: tokens as u32,
            reset: seconds(f64::from(limit.burst) - tokens),
            retry_after: seconds(1.0 - tokens).max(1),
        }
    }

    /// Adds the `RateLimit-*` headers to a response.
    pub(crate) fn insert_headers(&self, headers: &mut HeaderMap) {
        headers.insert(&RATELIMIT_LIMIT, HeaderValue::from(self.limit));
        headers.insert(&RATELIMIT_REMAINING, HeaderValue::from(self.remaining));
        headers.insert(&RATELIMIT_RESET, HeaderValue::from(self.reset));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: RateLimit = RateLimit {
        requests_per_second: 2,
        burst: 3,
    };

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_sustained_rate() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        let check = |millis| {
            limiter.check_request(
                &tenant("acme"),
                LIMIT,
                start + Duration::from_millis(millis),
            )
        };
        let fields = |result: RateLimitResult| {
            (
                result.allowed,
                result.remaining,
                result.reset,
                result.retry_after,
            )
        };
        assert_eq!(fields(check(0)), (true, 2, 1, 1));
        assert_eq!(fields(check(0)), (true, 1, 1, 1));
        assert_eq!(fields(check(0)), (true, 0, 2, 1));
        assert_eq!(fields(check(0)), (false, 0, 2, 1));
        assert_eq!(fields(check(499)), (false, 0, 2, 1));
        assert_eq!(fields(check(500)), (true, 0, 2, 1));
        assert_eq!(fields(check(500)), (false, 0, 2, 1));
        assert_eq!(fields(check(60_000)), (true, 2, 1, 1));
    }

    #[test]
    fn each_tenant_has_its_own_bucket_and_limit() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        let single = RateLimit {
            requests_per_second: 1,
            burst: 1,
        };
        assert!(limiter.check_request(&tenant("a"), single, now).allowed);
        assert!(!limiter.check_request(&tenant("a"), single, now).allowed);
        assert!(limiter.check_request(&tenant("b"), LIMIT, now).allowed);
        let raised = RateLimit {
            requests_per_second: 1000,
            burst: 1000,
        };
        assert!(
            limiter
                .check_request(&tenant("a"), raised, now + Duration::from_millis(1))
                .allowed
        );
    }

    #[test]
    fn wrong_credentials_are_counted_by_source_network() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        let failures = |address: &str, count: usize| {
            let mut extensions = Extensions::new();
            extensions.insert(ClientAddress(address.parse().unwrap()));
            (0..count)
                .filter(|_| limiter.count_failure(&extensions, now).allowed)
                .count()
        };
        assert_eq!(
            (failures("192.0.2.1", 30), failures("192.0.2.2", 30)),
            (20, 20)
        );
        assert_eq!(failures("::ffff:192.0.2.1", 1), 0, "it is the same address");
        assert_eq!(
            (failures("2001:db8::1", 15), failures("2001:db8::2", 15)),
            (15, 5)
        );
        let addresses =
            (0..20_000_u32).map(|index| Ipv4Addr::from(0x0a00_0000 + index).to_string());
        assert!(addresses.clone().all(|address| failures(&address, 1) == 1));
        assert!(limiter.sources.lock().unwrap().len() <= MAX_SOURCES);
    }
}
