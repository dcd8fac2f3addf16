//! Master keys, the keys that they encrypt, and the encryption of a tenant's content.

mod cipher;
mod derived_keys;
mod key_files;
mod master_key;
mod token_digest;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use call::{PhoneNumber, Pin};

use self::cipher::{Cipher, hmac_key, keyed_hash};
pub(crate) use self::derived_keys::DerivedKeys;
pub(crate) use self::key_files::KeyFiles;
pub(crate) use self::master_key::MasterKey;
pub(crate) use self::token_digest::TokenDigest;
use crate::RecordingKey;
use crate::store::{StoreError, TenantId, Timestamp};

const KEY_LENGTH: usize = 32;
const CONTENT: &[u8] = b"greenpin: sealing of a tenant's content, version 1";
const RECORDINGS: &[u8] = b"greenpin: sealing of a tenant's recordings, version 1";
const PARTIES: &[u8] = b"greenpin: index of a tenant's parties, version 1";
/// Time for which links of the previous generation stay valid: the maximum validity of a link, and an hour in which
/// nodes may still sign with it.
const RETIRED_LINKS_TTL: Duration = Duration::from_secs(25 * 3600);

/// Keys of the store: the master keys, the derived keys and those of the tenants in use. No key is ever printed.
pub(crate) struct Keyring {
    files: KeyFiles,
    credentials: hmac::Key,
    numbers: hmac::Key,
    recordings: RecordingKey,
    loaded: RwLock<Arc<LoadedKeys>>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantKey>>>,
}

/// Keys that a rotation changes.
pub(crate) struct LoadedKeys {
    /// Newest generation in the database.
    pub(crate) generation: i64,
    /// Id of the master key of this generation.
    pub(crate) current: String,
    /// Master keys in the key files.
    pub(crate) masters: Vec<MasterKey>,
    /// Derived keys, newest generation first.
    pub(crate) generations: Vec<Generation>,
}

/// Derived keys of a generation.
pub(crate) struct Generation {
    pub(crate) keys: DerivedKeys,
    /// Start of the next generation.
    pub(crate) retired_at: Option<Timestamp>,
}

/// Encryption of the personal data of a tenant. Without this key the data cannot be read.
pub(crate) struct TenantKey {
    content: Cipher,
    parties: hmac::Key,
    recordings: Arc<hmac::Key>,
}

/// Key of a tenant, encrypted with a master key: `ID.CIPHERTEXT`. Earlier versions wrote no id.
#[derive(Clone)]
pub(crate) struct WrappedKey(String);

impl Keyring {
    /// Creates the keyring of a database; `None` if there is no generation.
    pub(crate) fn new(files: KeyFiles, loaded: LoadedKeys) -> Option<Self> {
        let first = &loaded.generations.last()?.keys;
        Some(Self {
            files,
            credentials: hmac::Key::new(hmac::HMAC_SHA256, first.credentials()),
            numbers: hmac::Key::new(hmac::HMAC_SHA256, first.numbers()),
            recordings: RecordingKey::of_generations(recording_secrets(&loaded)),
            loaded: RwLock::new(Arc::new(loaded)),
            tenants: RwLock::default(),
        })
    }

    /// Replaces the keys that a rotation has changed.
    pub(crate) fn replace(&self, loaded: LoadedKeys) {
        self.recordings.replace(recording_secrets(&loaded));
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// Returns the keys of the last [`Keyring::replace`].
    pub(crate) fn loaded(&self) -> Arc<LoadedKeys> {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the key files.
    pub(crate) fn files(&self) -> &KeyFiles {
        &self.files
    }

    pub(crate) fn digest(&self, token: &str) -> TokenDigest {
        TokenDigest::new(&self.credentials, token)
    }

    /// Returns the index key of a virtual number.
    pub(crate) fn number_key(&self, number: PhoneNumber) -> String {
        keyed_hash(&self.numbers, &number.expose())
    }

    /// Returns the index key of a PIN on its number.
    pub(crate) fn pin_key(&self, number_key: &str, pin: &Pin) -> String {
        keyed_hash(&self.numbers, &format!("{number_key} {}", pin.expose()))
    }

    /// Signs the text of a link.
    pub(crate) fn sign_link(&self, text: &str) -> String {
        let loaded = self.loaded();
        let newest = loaded.generations.first().map(|newest| &newest.keys);
        let key = newest.map_or(&[][..], DerivedKeys::links);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()))
    }

    /// Returns whether the signature of a link is valid, in constant time. `expires_at` is part of the text. A retired
    /// key verifies only links that were probably signed before it was retired.
    pub(crate) fn verify_link(&self, text: &str, expires_at: Timestamp, signature: &str) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        self.loaded().generations.iter().any(|generation| {
            let is_in_use = generation
                .retired_at
                .is_none_or(|retired_at| expires_at <= retired_at + RETIRED_LINKS_TTL);
            let key = hmac::Key::new(hmac::HMAC_SHA256, generation.keys.links());
            is_in_use && hmac::verify(&key, text.as_bytes(), &signature).is_ok()
        })
    }

    /// Returns the encryption of recordings.
    pub(crate) fn recordings(&self) -> &RecordingKey {
        &self.recordings
    }

    /// Creates the key of a new tenant.
    pub(crate) fn new_tenant_key(&self, tenant: &TenantId) -> Result<WrappedKey, StoreError> {
        let loaded = self.loaded();
        let current = loaded.master(&loaded.current).ok_or(MISSING_NEW_KEY)?;
        current.new_tenant_key(tenant)
    }

    /// Returns the cached key of a tenant.
    pub(crate) fn cached_tenant(&self, tenant: &TenantId) -> Option<Arc<TenantKey>> {
        self.tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
            .cloned()
    }

    /// Decrypts the key of a tenant and caches it.
    pub(crate) fn open_tenant(
        &self,
        tenant: &TenantId,
        wrapped: &WrappedKey,
    ) -> Result<Arc<TenantKey>, StoreError> {
        let key = self.loaded().unwrap(tenant, wrapped)?;
        let key = URL_SAFE_NO_PAD
            .decode(key)
            .ok()
            .and_then(|key| TenantKey::derive(&key));
        let key = Arc::new(key.ok_or(StoreError::Unreadable("key of a tenant"))?);
        self.tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), key.clone());
        Ok(key)
    }

    /// Evicts the keys of all tenants. They are read again on demand.
    pub(crate) fn evict_tenants(&self) {
        self.tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// A key was encrypted with a master key that is in none of the key files.
const MISSING_NEW_KEY: StoreError = StoreError::Unreadable(
    "key of a tenant: copy the new master key to this node, see the guide on rotating secrets",
);

impl LoadedKeys {
    /// Returns the master key with an id.
    pub(crate) fn master(&self, id: &str) -> Option<&MasterKey> {
        self.masters.iter().find(|master| master.id() == id)
    }

    /// Returns whether the key files hold the master key of a wrapped key.
    pub(crate) fn can_unwrap(&self, wrapped: &WrappedKey) -> bool {
        wrapped
            .master_id()
            .is_none_or(|id| self.master(id).is_some())
    }

    /// Decrypts the key of a tenant.
    fn unwrap(&self, tenant: &TenantId, wrapped: &WrappedKey) -> Result<String, StoreError> {
        match wrapped.master_id() {
            Some(id) => self
                .master(id)
                .ok_or(MISSING_NEW_KEY)?
                .unwrap(tenant, wrapped),
            None => self
                .masters
                .iter()
                .find_map(|master| master.unwrap(tenant, wrapped).ok())
                .ok_or(MISSING_NEW_KEY),
        }
    }

    /// Encrypts the key of a tenant with the current master key.
    pub(crate) fn rewrap(
        &self,
        tenant: &TenantId,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, StoreError> {
        let current = self.master(&self.current).ok_or(MISSING_NEW_KEY)?;
        current.wrap(tenant, self.unwrap(tenant, wrapped)?)
    }
}

/// Returns the digest of a master key that earlier versions stored in its database.
pub(crate) fn legacy_digest(master: &MasterKey) -> String {
    let keys = master.legacy_keys();
    let numbers = hmac::Key::new(hmac::HMAC_SHA256, keys.numbers());
    keyed_hash(&numbers, "the master key of this database")
}

fn recording_secrets(loaded: &LoadedKeys) -> impl Iterator<Item = &[u8]> {
    loaded
        .generations
        .iter()
        .map(|generation| generation.keys.recordings())
}

impl TenantKey {
    fn derive(key: &[u8]) -> Option<Self> {
        Some(Self {
            content: Cipher::derive(key, CONTENT)?,
            parties: hmac_key(key, PARTIES),
            recordings: Arc::new(hmac_key(key, RECORDINGS)),
        })
    }

    /// Encrypts a text. It decrypts only with the same `context`, so an encrypted value cannot be moved to another
    /// row.
    pub(crate) fn encrypt(
        &self,
        context: &str,
        text: impl Into<String>,
    ) -> Result<String, StoreError> {
        self.content.encrypt(context, text.into().into_bytes())
    }

    /// Encrypts octets as [`TenantKey::encrypt`] does a text.
    pub(crate) fn encrypt_octets(
        &self,
        context: &str,
        octets: Vec<u8>,
    ) -> Result<String, StoreError> {
        self.content.encrypt(context, octets)
    }

    /// Decrypts octets.
    pub(crate) fn decrypt_octets(
        &self,
        context: &str,
        encrypted: &str,
    ) -> Result<Vec<u8>, StoreError> {
        self.content.decrypt_octets(context, encrypted)
    }

    /// Decrypts a text.
    pub(crate) fn decrypt(&self, context: &str, encrypted: &str) -> Result<String, StoreError> {
        self.content.decrypt(context, encrypted)
    }

    /// Returns the key of the tenant's recordings.
    pub(crate) fn recordings(&self) -> Arc<hmac::Key> {
        self.recordings.clone()
    }

    /// Returns the index key of a party's number.
    pub(crate) fn party_key(&self, number: PhoneNumber) -> String {
        keyed_hash(&self.parties, &number.expose())
    }

    /// Returns the index key of the block of 10,000 numbers that holds a number.
    pub(crate) fn block_key(&self, number: PhoneNumber) -> String {
        let mut block = number.expose();
        block.truncate(block.len().saturating_sub(4));
        keyed_hash(&self.parties, &["block ", &block].concat())
    }
}

impl WrappedKey {
    fn new(master_id: &str, ciphertext: &str) -> Self {
        Self(format!("{master_id}.{ciphertext}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the id of the master key; `None` in databases of earlier versions.
    pub(crate) fn master_id(&self) -> Option<&str> {
        self.0.split_once('.').map(|(id, _)| id)
    }

    fn ciphertext(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a keyring as earlier versions made it: everything is derived from the key.
    fn keyring(files: &KeyFiles) -> Keyring {
        let master = files.create().unwrap();
        let generation = Generation {
            keys: master.legacy_keys(),
            retired_at: None,
        };
        let loaded = LoadedKeys {
            generation: 1,
            current: master.id().to_owned(),
            masters: vec![master],
            generations: vec![generation],
        };
        Keyring::new(files.clone(), loaded).unwrap()
    }

    fn files(folder: &tempfile::TempDir, name: &str) -> KeyFiles {
        KeyFiles::new(&folder.path().join(name))
    }

    #[test]
    fn an_encrypted_text_decrypts_in_its_own_context_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keyring(&files(&folder, "a.key"));
        let key = |name: &str| {
            let tenant = TenantId::parse(name).unwrap();
            let wrapped = keys.new_tenant_key(&tenant).unwrap();
            keys.open_tenant(&tenant, &wrapped).unwrap()
        };
        let (acme, other) = (key("acme"), key("other"));
        let encrypted = acme.encrypt("allocation gp_1", "+919900000001").unwrap();
        assert!(!encrypted.contains("9900000001"));
        assert_ne!(
            encrypted,
            acme.encrypt("allocation gp_1", "+919900000001").unwrap()
        );
        assert_eq!(
            acme.decrypt("allocation gp_1", &encrypted).unwrap(),
            "+919900000001"
        );
        assert!(acme.decrypt("allocation gp_2", &encrypted).is_err());
        assert!(other.decrypt("allocation gp_1", &encrypted).is_err());
        for cut in 0..encrypted.len() {
            assert!(acme.decrypt("allocation gp_1", &encrypted[..cut]).is_err());
        }
        let number = PhoneNumber::parse("+919900000001").unwrap();
        assert_ne!(acme.party_key(number), other.party_key(number));
    }

    #[test]
    fn a_digest_parses_and_depends_on_key_and_token() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keyring(&files(&folder, "a.key"));
        let other = keyring(&files(&folder, "b.key"));
        let digest = keys.digest("token");
        assert!(
            TokenDigest::from_hex(&digest.to_hex())
                .unwrap()
                .matches(&digest)
        );
        assert!(!digest.matches(&keys.digest("Token")));
        assert!(!digest.matches(&other.digest("token")));
        assert!(TokenDigest::from_hex("zz").is_none());
    }

    #[test]
    fn a_wrapped_key_names_its_master_key_and_one_without_a_name_is_readable() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, other) = (
            keyring(&files(&folder, "a.key")),
            keyring(&files(&folder, "b.key")),
        );
        let tenant = TenantId::parse("acme").unwrap();
        let wrapped = keys.new_tenant_key(&tenant).unwrap();
        let id = keys.loaded().current.clone();
        assert_eq!(wrapped.master_id(), Some(id.as_str()));
        let unnamed = WrappedKey::stored(wrapped.ciphertext().to_owned());
        assert!(keys.open_tenant(&tenant, &unnamed).is_ok());
        assert!(!other.loaded().can_unwrap(&wrapped));
        for wrapped in [&wrapped, &unnamed] {
            assert!(
                matches!(other.open_tenant(&tenant, wrapped), Err(error) if error == MISSING_NEW_KEY)
            );
        }
    }

    #[test]
    fn derived_keys_are_read_with_their_master_key_and_generation_only() {
        let folder = tempfile::tempdir().unwrap();
        let master = files(&folder, "a.key").create().unwrap();
        let other = files(&folder, "b.key").create().unwrap();
        let keys = DerivedKeys::random();
        let sealed = master.seal(1, &keys).unwrap();
        assert_eq!(master.unseal(1, &sealed).unwrap().to_text(), keys.to_text());
        assert!(master.unseal(2, &sealed).is_err() && other.unseal(1, &sealed).is_err());
        let purposes = [
            keys.credentials(),
            keys.numbers(),
            keys.recordings(),
            keys.links(),
        ];
        let distinct: std::collections::HashSet<_> = purposes.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(purposes.iter().all(|key| key.len() == KEY_LENGTH));
    }

    #[test]
    fn a_link_of_a_retired_key_is_valid_until_it_has_expired() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keyring(&files(&folder, "a.key"));
        let loaded = keys.loaded();
        let signature = keys.sign_link("text");
        let retired_at = Timestamp::from_micros(1_000_000_000_000);
        let generation = |keys: DerivedKeys, retired_at| Generation { keys, retired_at };
        keys.replace(LoadedKeys {
            generation: 2,
            current: loaded.current.clone(),
            masters: files(&folder, "a.key").all().unwrap(),
            generations: vec![
                generation(DerivedKeys::random(), None),
                generation(loaded.generations[0].keys.clone(), Some(retired_at)),
            ],
        });
        let day = Duration::from_secs(24 * 3600);
        assert!(keys.verify_link("text", retired_at + day, &signature));
        assert!(!keys.verify_link("text", retired_at + 2 * day, &signature));
        let signature = keys.sign_link("text");
        assert!(keys.verify_link("text", retired_at + 2 * day, &signature));
        assert!(!keys.verify_link("other", retired_at, &signature));
    }
}
