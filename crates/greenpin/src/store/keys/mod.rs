//! Rotation of the master key.

mod rotation;
pub(crate) mod sql;

pub use self::rotation::{RotateError, Rotation, RotationStep};
