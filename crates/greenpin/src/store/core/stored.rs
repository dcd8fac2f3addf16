//! Conversions of stored values to types that cannot hold anything else.

use call::PhoneNumber;

use super::error::StoreError;

/// Parses a phone number that was decrypted.
pub(crate) fn phone_number(text: &str) -> Result<PhoneNumber, StoreError> {
    PhoneNumber::parse(text).map_err(|_| StoreError::Unreadable("number"))
}
