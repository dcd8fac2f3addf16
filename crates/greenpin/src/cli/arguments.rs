//! Values of options that several commands share.

use crate::store::{CallSid, TenantId, is_account_sid};

/// Parses a tenant's name.
pub(super) fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).ok_or_else(|| {
        "must be 1 to 64 of a-z, 0-9, '-' and '_', the first a letter or digit".to_owned()
    })
}

/// Parses the id of a call.
pub(super) fn call_sid(text: &str) -> Result<CallSid, String> {
    CallSid::parse(text)
        .ok_or_else(|| "must be the id of a call: call_ and 26 characters".to_owned())
}

/// Parses the user name of a credential.
pub(super) fn account_sid(text: &str) -> Result<String, String> {
    if is_account_sid(text) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, '-', '_' and '.'".to_owned())
    }
}
