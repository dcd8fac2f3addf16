//! Calls whose source is not proven: a UDP datagram with the address of a trunk may come from anybody.
//!
//! Each trunk has a bound on them. Beyond it the oldest ends: a caller who exists acknowledges the answer within a second,
//! a forger never does.

use std::collections::{HashMap, VecDeque};

use super::leg_owner::CallId;

/// Maximum number of calls of a trunk whose answer is not acknowledged.
pub const MAX_UNPROVEN_CALLS: usize = 256;

/// Unproven calls of each trunk, oldest first.
#[derive(Default)]
pub(super) struct UnprovenCalls(HashMap<usize, VecDeque<CallId>>);

impl UnprovenCalls {
    /// Adds a call of a trunk. Returns the call that must end for it.
    pub(super) fn add(&mut self, trunk: usize, call: CallId) -> Option<CallId> {
        let calls = self.0.entry(trunk).or_default();
        calls.push_back(call);
        if calls.len() > MAX_UNPROVEN_CALLS {
            calls.pop_front()
        } else {
            None
        }
    }

    /// Removes a call that is proven or has ended.
    pub(super) fn remove(&mut self, trunk: usize, call: CallId) {
        if let Some(calls) = self.0.get_mut(&trunk) {
            calls.retain(|unproven| *unproven != call);
        }
    }

    /// Returns the number of calls.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_ends_beyond_the_bound_of_its_trunk() {
        let mut calls = UnprovenCalls::default();
        let bound = MAX_UNPROVEN_CALLS as u64;
        for number in 0..bound {
            assert_eq!(calls.add(0, CallId(number)), None);
        }
        assert_eq!(calls.add(1, CallId(1000)), None, "each trunk has its bound");
        calls.remove(0, CallId(0));
        assert_eq!(calls.add(0, CallId(bound)), None);
        assert_eq!(calls.add(0, CallId(bound + 1)), Some(CallId(1)));
        assert_eq!(calls.len(), MAX_UNPROVEN_CALLS + 1);
    }
}
