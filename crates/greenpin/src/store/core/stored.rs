//! Conversions of stored values to types that cannot hold anything else.

use call::PhoneNumber;

use super::error::StoreError;
use super::ids::TenantId;

/// Parses a phone number that was decrypted.
pub(crate) fn phone_number(text: &str) -> Result<PhoneNumber, StoreError> {
    PhoneNumber::parse(text).map_err(|_| StoreError::Unreadable("number"))
}

/// Parses a tenant id.
pub(crate) fn tenant_id(text: &str) -> Result<TenantId, StoreError> {
    TenantId::parse(text).ok_or(StoreError::Unreadable("tenant id"))
}

/// Converts an integer column to a smaller type. `column` is the word for the error.
pub(crate) fn integer<T: TryFrom<i64>>(value: i64, column: &'static str) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Unreadable(column))
}
