//! Conversions of stored texts.

use call::PhoneNumber;

use super::error::StoreError;

/// Parses a decrypted phone number.
pub(crate) fn phone_number(text: &str) -> Result<PhoneNumber, StoreError> {
    PhoneNumber::parse(text).map_err(|_| StoreError::Unreadable("number"))
}
