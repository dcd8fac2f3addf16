//! Trunks: which one takes a call, how numbers are written for it, where its name leads.

pub(crate) mod dns;
pub(crate) mod number_format;
pub(crate) mod selection;
