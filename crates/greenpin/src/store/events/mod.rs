//! Events: log, outbox of webhook deliveries, attempts, replay.

pub(crate) mod attempts;
pub(crate) mod endpoint_health;
mod log;
pub(crate) mod outbox;
pub(crate) mod payload;
pub(crate) mod redelivery;
pub(crate) mod sql;
mod test_event;

pub use self::attempts::{Attempt, AttemptError, AttemptOutcome, DeliveryRecord, DeliveryState};
pub(crate) use self::log::*;
pub use self::log::{EventType, LoggedEvent};
pub use self::outbox::Delivery;
pub(crate) use self::payload::Payload;
pub use self::redelivery::{ReplayRequest, Replayed};
pub use self::sql::DueEndpoint;
