//! Durable state: tenants, numbers, allocations, calls, events.
