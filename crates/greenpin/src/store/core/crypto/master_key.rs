//! Master key. It encrypts the keys of tenants and the derived keys of the store, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cipher::{Cipher, hmac_key, keyed_hash};
use super::derived_keys::DerivedKeys;
use super::{KEY_LENGTH, WrappedKey};
use crate::crypto::random;
use crate::store::{StoreError, TenantId};

const TENANT_KEYS: &[u8] = b"greenpin: sealing of tenant keys, version 1";
const DERIVED_KEYS: &[u8] = b"greenpin: sealing of derived keys, version 1";
const KEY_ID: &[u8] = b"greenpin: id of a master key, version 1";

/// Secret of a key file.
pub(crate) struct MasterKey {
    octets: Vec<u8>,
    id: String,
    tenant_keys: Cipher,
    derived_keys: Cipher,
}

impl MasterKey {
    /// Creates a key; `None` if the length is wrong.
    pub(super) fn new(octets: Vec<u8>) -> Option<Self> {
        if octets.len() != KEY_LENGTH {
            return None;
        }
        Some(Self {
            id: keyed_hash(&hmac_key(&octets, KEY_ID), "id"),
            tenant_keys: Cipher::derive(&octets, TENANT_KEYS)?,
            derived_keys: Cipher::derive(&octets, DERIVED_KEYS)?,
            octets,
        })
    }

    /// Returns the id: it tells keys apart and reveals nothing else.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the keys that earlier versions derived from this key.
    pub(crate) fn legacy_keys(&self) -> DerivedKeys {
        DerivedKeys::of_master_key(&self.octets)
    }

    /// Creates the key of a new tenant.
    pub(super) fn new_tenant_key(&self, tenant: &TenantId) -> Result<WrappedKey, StoreError> {
        let mut key = [0; KEY_LENGTH];
        random::fill(&mut key);
        self.wrap(tenant, URL_SAFE_NO_PAD.encode(key))
    }

    /// Encrypts the key of a tenant.
    pub(super) fn wrap(&self, tenant: &TenantId, key: String) -> Result<WrappedKey, StoreError> {
        let encrypted = self
            .tenant_keys
            .encrypt(tenant.as_str(), key.into_bytes())?;
        Ok(WrappedKey::new(&self.id, &encrypted))
    }

    /// Decrypts the key of a tenant.
    pub(super) fn unwrap(
        &self,
        tenant: &TenantId,
        wrapped: &WrappedKey,
    ) -> Result<String, StoreError> {
        self.tenant_keys
            .decrypt(tenant.as_str(), wrapped.ciphertext())
    }

    /// Encrypts the derived keys of a generation.
    pub(crate) fn seal(&self, generation: i64, keys: &DerivedKeys) -> Result<String, StoreError> {
        self.derived_keys.encrypt(
            &format!("generation {generation}"),
            keys.to_text().into_bytes(),
        )
    }

    /// Decrypts the derived keys of a generation.
    pub(crate) fn unseal(&self, generation: i64, sealed: &str) -> Result<DerivedKeys, StoreError> {
        let text = self
            .derived_keys
            .decrypt(&format!("generation {generation}"), sealed)?;
        DerivedKeys::parse(&text).ok_or(StoreError::Unreadable("derived keys"))
    }

    /// Decrypts the key of a tenant for a test; `None` if the text is no key, or encrypted with another one.
    #[cfg(test)]
    pub(crate) fn open_tenant(
        &self,
        tenant: &TenantId,
        wrapped: &WrappedKey,
    ) -> Option<super::TenantKey> {
        let key = self.unwrap(tenant, wrapped).ok()?;
        super::TenantKey::derive(&URL_SAFE_NO_PAD.decode(key).ok()?)
    }
}
