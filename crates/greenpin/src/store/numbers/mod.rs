//! Virtual numbers: the pool, its administration, capacity.

pub(crate) mod capacity;
pub(crate) mod guess_odds;
mod number;
pub(crate) mod pool;
pub(crate) mod sql;

pub use self::capacity::NumberCapacity;
pub(crate) use self::number::*;
pub use self::number::{
    NewNumber, NumberError, NumberMode, OPEN_PIN_LENGTH, PoolNumber, REFILL_INTERVAL,
    UNLISTED_BURST,
};
pub use self::pool::{ImportError, NumberChange, NumberFilter, NumberRecord, PoolError};
