//! Master key and the keys derived from it.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use call::{PhoneNumber, Pin};

use crate::RecordingKey;
use crate::crypto::{private_folder, random};
use crate::store::{OpenError, StoreError, TenantId};

const KEY_LENGTH: usize = 32;
const CREDENTIALS: &[u8] = b"greenpin: digest of API tokens, version 1";
const NUMBERS: &[u8] = b"greenpin: index of virtual numbers and PINs, version 1";
const TENANT_KEYS: &[u8] = b"greenpin: sealing of tenant keys, version 1";
const CONTENT: &[u8] = b"greenpin: sealing of a tenant's content, version 1";
const RECORDINGS: &[u8] = b"greenpin: sealing of recordings, version 1";
const LINKS: &[u8] = b"greenpin: signing of links, version 1";
const PARTIES: &[u8] = b"greenpin: index of a tenant's parties, version 1";
/// Length of a keyed hash in octets. Among a billion numbers a collision is expected in one of 10^20 databases.
const INDEX_LENGTH: usize = 16;

/// Keys of the store: those of the master key and of the tenants in use. No key is ever printed.
pub(crate) struct Keyring {
    credentials: hmac::Key,
    numbers: hmac::Key,
    links: hmac::Key,
    recordings: RecordingKey,
    wrapping: Cipher,
    tenants: RwLock<HashMap<TenantId, Arc<TenantKey>>>,
}

/// Encryption of the personal data of a tenant. Without this key the data cannot be read.
pub(crate) struct TenantKey {
    content: Cipher,
    parties: hmac::Key,
}

/// Key of a tenant, encrypted with the master key.
#[derive(Clone)]
pub(crate) struct WrappedKey(String);

/// Keyed digest of an API token, useless without the master key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; KEY_LENGTH]);

/// AES-256-GCM-SIV (RFC 8452). A repeated random nonce reveals only equal plaintexts, so the number of encryptions per
/// key need not be counted.
struct Cipher(LessSafeKey);

impl Keyring {
    /// Reads the key file. Creates one with mode 0600 if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let master = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => create(path).map_err(io)?,
            Err(error) => return Err(io(error)),
        };
        let wrong = || OpenError::Key {
            path: path.to_owned(),
            length: master.len(),
        };
        if master.len() != KEY_LENGTH {
            return Err(wrong());
        }
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & EXPOSED_MODE != 0 {
            return Err(OpenError::ExposedKey {
                path: path.to_owned(),
                mode: mode & 0o777,
            });
        }
        Ok(Self {
            credentials: hmac_key(&master, CREDENTIALS),
            numbers: hmac_key(&master, NUMBERS),
            links: hmac_key(&master, LINKS),
            recordings: RecordingKey::new(derive_key(&master, RECORDINGS).as_ref()),
            wrapping: Cipher::derive(&master, TENANT_KEYS).ok_or_else(wrong)?,
            tenants: RwLock::default(),
        })
    }

    pub(crate) fn digest(&self, token: &str) -> TokenDigest {
        let tag = hmac::sign(&self.credentials, token.as_bytes());
        let mut digest = [0; KEY_LENGTH];
        digest
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        TokenDigest(digest)
    }

    /// Returns a digest that identifies this master key and reveals nothing else.
    pub(crate) fn master_digest(&self) -> String {
        keyed_hash(&self.numbers, "the master key of this database")
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
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.links, text.as_bytes()))
    }

    /// Returns the encryption of recordings.
    pub(crate) fn recordings(&self) -> &RecordingKey {
        &self.recordings
    }

    /// Returns whether the signature of a link is valid, in constant time.
    pub(crate) fn verify_link(&self, text: &str, signature: &str) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        hmac::verify(&self.links, text.as_bytes(), &signature).is_ok()
    }

    /// Creates the key of a new tenant.
    pub(crate) fn new_tenant_key(&self, tenant: &TenantId) -> Result<WrappedKey, StoreError> {
        let mut key = [0; KEY_LENGTH];
        random::fill(&mut key);
        Ok(WrappedKey(
            self.wrapping
                .encrypt(tenant.as_str(), URL_SAFE_NO_PAD.encode(key))?,
        ))
    }

    /// Returns the key of a tenant. Calls `read` if it is not cached.
    pub(crate) fn tenant(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<Option<WrappedKey>, StoreError>,
    ) -> Result<Arc<TenantKey>, StoreError> {
        if let Some(key) = self
            .tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
        {
            return Ok(key.clone());
        }
        let wrapped = read()?.ok_or(StoreError::Unreadable("key of a tenant"))?;
        let key = self.wrapping.decrypt(tenant.as_str(), &wrapped.0)?;
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

impl TenantKey {
    fn derive(key: &[u8]) -> Option<Self> {
        Some(Self {
            content: Cipher::derive(key, CONTENT)?,
            parties: hmac_key(key, PARTIES),
        })
    }

    /// Encrypts a text. It decrypts only with the same `context`, so an encrypted value cannot be moved to another
    /// row.
    pub(crate) fn encrypt(
        &self,
        context: &str,
        text: impl Into<String>,
    ) -> Result<String, StoreError> {
        self.content.encrypt(context, text.into())
    }

    /// Decrypts a text.
    pub(crate) fn decrypt(&self, context: &str, encrypted: &str) -> Result<String, StoreError> {
        self.content.decrypt(context, encrypted)
    }

    /// Returns the index key of a party's number.
    pub(crate) fn party_key(&self, number: PhoneNumber) -> String {
        keyed_hash(&self.parties, &number.expose())
    }
}

impl WrappedKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

impl Cipher {
    fn derive(key: &[u8], purpose: &[u8]) -> Option<Self> {
        let derived = derive_key(key, purpose);
        let key = UnboundKey::new(&AES_256_GCM_SIV, derived.as_ref()).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Returns nonce, ciphertext and tag in base64url.
    fn encrypt(&self, context: &str, text: String) -> Result<String, StoreError> {
        let mut encrypted = text.into_bytes();
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut encrypted,
            )
            .map_err(|_| StoreError::Unreadable("text to be encrypted"))?;
        let mut out = String::with_capacity((NONCE_LEN + encrypted.len()).div_ceil(3) * 4);
        // 12 octets encode to 16 characters without padding, so both parts can be appended separately.
        URL_SAFE_NO_PAD.encode_string(nonce, &mut out);
        URL_SAFE_NO_PAD.encode_string(&encrypted, &mut out);
        Ok(out)
    }

    fn decrypt(&self, context: &str, encrypted: &str) -> Result<String, StoreError> {
        let decrypt = || {
            let mut octets = URL_SAFE_NO_PAD.decode(encrypted).ok()?;
            let (nonce, text) = octets.split_at_mut_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let text = self.0.open_in_place(nonce, Aad::from(context), text).ok()?;
            let end = NONCE_LEN + text.len();
            octets.truncate(end);
            octets.drain(..NONCE_LEN);
            String::from_utf8(octets).ok()
        };
        decrypt().ok_or(StoreError::Unreadable(
            "encrypted text: was it written with another master key?",
        ))
    }
}

fn hmac_key(key: &[u8], purpose: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, derive_key(key, purpose).as_ref())
}

/// Derives a key of 32 octets for one purpose.
fn derive_key(key: &[u8], purpose: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose)
}

fn keyed_hash(key: &hmac::Key, text: &str) -> String {
    let tag = hmac::sign(key, text.as_bytes());
    URL_SAFE_NO_PAD.encode(tag.as_ref().get(..INDEX_LENGTH).unwrap_or_default())
}

impl TokenDigest {
    /// Returns the digest for an unknown credential. No token has it.
    pub(crate) fn none() -> Self {
        Self([0; KEY_LENGTH])
    }

    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; KEY_LENGTH];
        if text.len() != 2 * KEY_LENGTH {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

/// Mode bits that expose a key file: any access of others, and writes of the group. A group may read it, as it may a
/// secret that a container platform mounts.
const EXPOSED_MODE: u32 = 0o027;

/// Creates a key file. Of two processes that start at once, both use the file that was created first.
fn create(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_LENGTH];
    random::fill(&mut key);
    private_folder::create_for(path)?;
    let draft = path.with_extension(format!("{:016x}", random::u64()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // A link fails if the file exists. A rename would overwrite the key of the other process.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::read(path),
        Err(error) => Err(error),
        Ok(()) => {
            sync_folder(path)?;
            Ok(key)
        }
    }
}

/// Makes the name of a new file durable. A key lost in a power cut would invalidate every token.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_file_is_created_once_and_private_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/master.key");
        let first = Keyring::open(&path).unwrap().digest("token");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for (mode, is_accepted) in [(0o640, true), (0o400, true), (0o644, false), (0o660, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Keyring::open(&path).is_ok(), is_accepted, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            Keyring::open(&path)
                .unwrap()
                .digest("token")
                .matches(&first)
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_key_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "short").unwrap();
        assert!(matches!(
            Keyring::open(&path),
            Err(OpenError::Key { length: 5, .. })
        ));
    }

    #[test]
    fn an_encrypted_text_decrypts_in_its_own_context_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keyring::open(&folder.path().join("a.key")).unwrap();
        let key = |name: &str| {
            let tenant = TenantId::parse(name).unwrap();
            let wrapped = keys.new_tenant_key(&tenant).unwrap();
            keys.tenant(&tenant, || Ok(Some(wrapped))).unwrap()
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
        let keys = Keyring::open(&folder.path().join("a.key")).unwrap();
        let other = Keyring::open(&folder.path().join("b.key")).unwrap();
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
}
