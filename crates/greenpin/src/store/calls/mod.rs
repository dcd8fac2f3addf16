//! Calls: routing, progress, records, recordings.

mod call_event;
mod ending;
mod events_of_call;
mod legs;
pub(crate) mod list;
mod progress;
mod read_ahead;
pub(crate) mod record;
pub(crate) mod recording;
pub(crate) mod recording_links;
mod report;
pub(crate) mod route;
pub(crate) mod sql;
mod trace;
pub(crate) mod uploads;
mod why;

pub use self::ending::CallEnding;
pub(crate) use self::ending::close_interrupted;
pub use self::events_of_call::CallEvent;
pub use self::legs::{CallLegs, CallerVerification, DialledLeg, MAX_RECORDED_ATTEMPTS};
pub use self::list::{CallFilter, EndedCallFilter};
pub use self::read_ahead::CallKeys;
pub(crate) use self::read_ahead::{KnownCalls, KnownNumbers, read_of_call};
pub use self::record::{CallRecord, RecordingFile};
pub use self::recording::Disposition;
pub(crate) use self::recording::RecordingRules;
pub use self::recording_links::LinkError;
pub use self::report::{DigitReport, LegReport, MediaMode};
pub use self::route::{CallTenant, NewCall, RoutedCall};
pub(crate) use self::route::{collection, count_attempt};
pub use self::sql::Upload;
pub use self::trace::{CallTrace, SealedTrace, TraceEntry, TraceFact, TraceLeg, TraceWord};
