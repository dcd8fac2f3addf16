//! Trunks: selection for a call, number formats and resolution of names.

pub(crate) mod dns;
pub(crate) mod number_format;
pub(crate) mod selection;
