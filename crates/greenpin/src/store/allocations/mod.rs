//! Allocations: created, read, changed, listed, ended; the PINs that they hold.

mod allocation;
pub(crate) mod change;
pub(crate) mod expiry;
pub(crate) mod list;
pub(crate) mod number_cache;
pub(crate) mod pin_change;
pub(crate) mod pin_draw;

pub(crate) use self::allocation::*;
pub use self::allocation::{Allocation, CreateError, DeleteError, NewAllocation, Status};
pub use self::change::{AllocationChange, ChangeError, Party};
pub use self::list::AllocationFilter;
