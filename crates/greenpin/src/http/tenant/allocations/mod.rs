//! `/greenpin`: allocations.

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
