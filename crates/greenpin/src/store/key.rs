//! The master key, and what is derived from it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::{constant_time, hmac};

use super::OpenError;
use crate::random;

const KEY_LENGTH: usize = 32;
const CREDENTIALS: &[u8] = b"greenpin: digest of API tokens, version 1";

/// Keys of the store. Nothing of them is ever printed.
pub(super) struct Keys {
    credentials: hmac::Key,
}

/// An API token as it is kept: useless without the master key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; KEY_LENGTH]);

impl Keys {
    /// Reads the key file, or makes one that only its owner may read.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let master = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => create(path).map_err(io)?,
            Err(error) => return Err(io(error)),
        };
        if master.len() != KEY_LENGTH {
            return Err(OpenError::Key { path: path.to_owned(), length: master.len() });
        }
        let master = hmac::Key::new(hmac::HMAC_SHA256, &master);
        let derived = hmac::sign(&master, CREDENTIALS);
        Ok(Self { credentials: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) })
    }

    pub(super) fn digest(&self, token: &str) -> TokenDigest {
        let tag = hmac::sign(&self.credentials, token.as_bytes());
        let mut digest = [0; KEY_LENGTH];
        digest.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        TokenDigest(digest)
    }
}

impl TokenDigest {
    /// What stands in for the digest of a credential that does not exist: no token has it.
    pub(super) fn none() -> Self {
        Self([0; KEY_LENGTH])
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(super) fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
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

/// Writes a new key. Two processes that start at once agree on the file that was there first.
fn create(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_LENGTH];
    random::fill(&mut key);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{:016x}", random::u64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // A link fails where a rename would overwrite the key of the other process.
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

/// Makes a new file's name durable: a key that is lost in a power cut locks every token out.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_file_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/master.key");
        let first = Keys::open(&path).unwrap().digest("token");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Keys::open(&path).unwrap().digest("token").matches(&first));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "short").unwrap();
        assert!(matches!(Keys::open(&path), Err(OpenError::Key { length: 5, .. })));
    }

    #[test]
    fn a_digest_reads_back_and_depends_on_key_and_token() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(&folder.path().join("a.key")).unwrap();
        let other = Keys::open(&folder.path().join("b.key")).unwrap();
        let digest = keys.digest("token");
        assert!(TokenDigest::from_hex(&digest.to_hex()).unwrap().matches(&digest));
        assert!(!digest.matches(&keys.digest("Token")));
        assert!(!digest.matches(&other.digest("token")));
        assert!(TokenDigest::from_hex("zz").is_none());
    }
}
