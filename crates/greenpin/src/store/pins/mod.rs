//! PIN attempts: count, decision, throttles, and a dry run of the decision.

pub(crate) mod attempt;
pub(crate) mod decide;
pub(crate) mod resolve;
pub(crate) mod sql;
pub(crate) mod throttle;
pub(crate) mod unlisted_callers;

pub use self::decide::PinRefusal;
pub use self::resolve::Resolution;
