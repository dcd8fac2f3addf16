//! Links to recordings that need no credentials. A key of the store signs them for one call and a limited time.

use crate::store::tenants::status;
use crate::store::{CallSid, Store, StoreError, TenantId, TenantStore, Timestamp};

/// Failure to open a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// The signature is not valid.
    Forged,
    /// The link has expired.
    Expired,
}

impl TenantStore {
    /// Returns the last segment of a link to a recording of this tenant: `TENANT.CALL.SECONDS.SIGNATURE`, valid in a
    /// URL without escapes.
    pub fn recording_link(&self, call_sid: &CallSid, expires_at: Timestamp) -> String {
        let signed = format!("{}.{}.{}", self.tenant_id, call_sid, expires_at.seconds());
        let signature = self.store.keys.sign_link(&signed);
        format!("{signed}.{signature}")
    }
}

impl TenantStore {
    /// Returns whether the tenant is suspended or erased.
    pub async fn suspended(&self) -> Result<bool, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.look_up(move |snapshot| {
            // A tenant that does not exist has no recordings.
            let row = status::find(snapshot, &tenant)?;
            Ok::<_, StoreError>(row.is_none_or(|row| row.suspended_at.or(row.erased_at).is_some()))
        });
        read.await
    }
}

impl Store {
    /// Verifies a link of [`TenantStore::recording_link`].
    pub fn open_recording_link(
        &self,
        link: &str,
        now: Timestamp,
    ) -> Result<(TenantStore, CallSid), LinkError> {
        let (signed, signature) = link.rsplit_once('.').ok_or(LinkError::Forged)?;
        let mut parts = signed.split('.');
        let mut part = || parts.next().ok_or(LinkError::Forged);
        let tenant = TenantId::parse(part()?).ok_or(LinkError::Forged)?;
        let call_sid = CallSid::parse(part()?).ok_or(LinkError::Forged)?;
        let expires: i64 = part()?.parse().map_err(|_| LinkError::Forged)?;
        let expires_at = Timestamp::from_micros(expires.saturating_mul(1_000_000));
        if !self.keys.verify_link(signed, expires_at, signature) {
            return Err(LinkError::Forged);
        }
        if now.seconds() >= expires {
            return Err(LinkError::Expired);
        }
        Ok((self.tenant(tenant), call_sid))
    }
}
