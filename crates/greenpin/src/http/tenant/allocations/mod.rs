//! `/greenpin`: allocations.

pub(crate) mod allocation;
pub(crate) mod bulk_update;
pub(crate) mod list;
pub(crate) mod pin;
pub(crate) mod resolve;
pub(crate) mod update;
