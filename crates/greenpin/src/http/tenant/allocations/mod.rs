//! `/greenpin`: allocations.
//!
//! - `create`, `read`, `list`, `update`, `bulk_update`, `delete`: one operation each.
//! - `pin`: unlocks an allocation or rotates its PIN.
//! - `resolve`: the outcome of a hypothetical call.
//! - `fields`: declarations of the request fields.
//! - `resource`: the allocation in responses.

pub(crate) mod bulk_update;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod pin;
pub(crate) mod read;
pub(crate) mod resolve;
pub(crate) mod resource;
pub(crate) mod update;
