//! Allocations: creation, changes, lists, expiry, deletion, and their PINs.

mod allocation;
pub(crate) mod change;
mod create;
mod delete;
pub(crate) mod expiry;
pub(crate) mod list;
pub(crate) mod listed_callers;
pub(crate) mod number_cache;
mod operator;
pub(crate) mod pin_change;
pub(crate) mod pin_draw;
pub(crate) mod sql;

pub(crate) use self::allocation::*;
pub use self::allocation::{Allocation, Status};
pub use self::change::{AllocationChange, ChangeError, PartyList};
pub(crate) use self::create::create;
pub use self::create::{CreateError, GuessOddsError, NewAllocation};
pub use self::delete::DeleteError;
pub(crate) use self::delete::delete;
pub use self::list::AllocationFilter;
