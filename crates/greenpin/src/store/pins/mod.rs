//! PIN attempts: counted, decided, throttled; the dry run of the same decision.

pub(crate) mod attempt;
pub(crate) mod decide;
pub(crate) mod resolve;
pub(crate) mod sql;
pub(crate) mod unlisted_callers;

pub use self::decide::Refusal;
pub use self::resolve::Resolution;
