//! Files of the master key, and of its replacement during a rotation.
//!
//! | file | content |
//! |---|---|
//! | `master.key` | the key |
//! | `master.key.new` | the next key, from the start of a rotation until it takes the place of `master.key` |
//! | `master.key.old` | the previous key, from then until the end of the rotation |
//!
//! A kill at any moment leaves all keys that the database needs in these files.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::KEY_LENGTH;
use super::master_key::MasterKey;
use crate::crypto::{private_folder, random};
use crate::store::OpenError;

/// Mode bits that expose a key file: any access of others, and writes of the group. A group may read it, as it may a
/// secret that a container platform mounts.
const EXPOSED_MODE: u32 = 0o027;
/// Mode of a key file. One that takes the place of another keeps its read permission for the group.
const MODE: u32 = 0o600;

/// Key file of a store, with the files beside it.
#[derive(Debug, Clone)]
pub(crate) struct KeyFiles {
    path: PathBuf,
}

impl KeyFiles {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Returns the path of the key file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the next key.
    pub(crate) fn next_path(&self) -> PathBuf {
        self.beside("new")
    }

    /// Returns the path of the previous key.
    pub(crate) fn previous_path(&self) -> PathBuf {
        self.beside("old")
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".");
        path.push(end);
        PathBuf::from(path)
    }

    /// Reads the key; `None` if the file does not exist.
    pub(crate) fn current(&self) -> Result<Option<MasterKey>, OpenError> {
        read(&self.path)
    }

    /// Reads the next key.
    pub(crate) fn next(&self) -> Result<Option<MasterKey>, OpenError> {
        read(&self.next_path())
    }

    /// Reads the previous key.
    pub(crate) fn previous(&self) -> Result<Option<MasterKey>, OpenError> {
        read(&self.previous_path())
    }

    /// Reads all keys that exist.
    pub(crate) fn all(&self) -> Result<Vec<MasterKey>, OpenError> {
        let keys = [self.current()?, self.next()?, self.previous()?];
        Ok(keys.into_iter().flatten().collect())
    }

    /// Creates the key file. Of two processes that start at once, both use the file that was created first.
    pub(crate) fn create(&self) -> Result<MasterKey, OpenError> {
        create(&self.path, None).map_err(|source| io_error(&self.path, source))?;
        self.current()?
            .ok_or_else(|| io_error(&self.path, ErrorKind::NotFound.into()))
    }

    /// Creates the file of the next key, unless it exists. It gets the owner of the key file.
    pub(crate) fn create_next(&self) -> Result<MasterKey, OpenError> {
        let path = self.next_path();
        let failed = |source| io_error(&path, source);
        if let Some(key) = self.next()? {
            return Ok(key);
        }
        let model = fs::metadata(&self.path).map_err(|source| io_error(&self.path, source))?;
        create(&path, Some(&model)).map_err(failed)?;
        self.next()?
            .ok_or_else(|| failed(ErrorKind::NotFound.into()))
    }

    /// Puts the next key in the place of the key, which stays beside it as the previous one.
    pub(crate) fn switch(&self) -> Result<(), OpenError> {
        let previous = self.previous_path();
        let failed = |source| io_error(&previous, source);
        match fs::hard_link(&self.path, &previous) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked.map_err(failed)?,
        }
        sync_folder(&previous).map_err(failed)?;
        self.promote()
    }

    /// Puts the next key in the place of the key.
    pub(crate) fn promote(&self) -> Result<(), OpenError> {
        let failed = |source| io_error(&self.path, source);
        fs::rename(self.next_path(), &self.path).map_err(failed)?;
        sync_folder(&self.path).map_err(failed)
    }

    /// Overwrites and removes the file of the previous key. Does nothing if it does not exist.
    pub(crate) fn destroy_previous(&self) -> Result<(), OpenError> {
        let path = self.previous_path();
        destroy(&path).map_err(|source| io_error(&path, source))
    }

    /// Locks the folder of the key file against a second rotation on this machine, until the file is dropped. Removes
    /// drafts of keys that a killed process left behind.
    pub(crate) fn lock(&self) -> Result<File, OpenError> {
        let folder = private_folder::of(&self.path);
        let failed = |source| io_error(folder, source);
        let file = File::open(folder).map_err(failed)?;
        file.try_lock().map_err(|error| {
            failed(match error {
                fs::TryLockError::WouldBlock => io::Error::other("another key rotation is running"),
                fs::TryLockError::Error(error) => error,
            })
        })?;
        self.remove_drafts().map_err(failed)?;
        Ok(file)
    }

    fn remove_drafts(&self) -> io::Result<()> {
        let keys = [self.path.clone(), self.next_path()];
        for entry in fs::read_dir(private_folder::of(&self.path))? {
            let path = entry?.path();
            if keys.iter().any(|key| is_draft_of(&path, key)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Returns the path at which a key file is written before it gets its name.
fn draft_of(key: &Path) -> PathBuf {
    key.with_extension(format!("{:016x}", random::u64()))
}

fn is_draft_of(path: &Path, key: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let is_random = extension.len() == 16 && extension.bytes().all(|b| b.is_ascii_hexdigit());
    is_random && path.file_stem() == key.file_stem()
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<MasterKey>, OpenError> {
    let octets = match fs::read(path) {
        Ok(octets) => octets,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    let length = octets.len();
    let key = MasterKey::new(octets).ok_or_else(|| OpenError::Key {
        path: path.to_owned(),
        length,
    })?;
    let metadata = fs::metadata(path).map_err(|error| io_error(path, error))?;
    let mode = metadata.permissions().mode();
    if mode & EXPOSED_MODE != 0 {
        return Err(OpenError::ExposedKey {
            path: path.to_owned(),
            mode: mode & 0o777,
        });
    }
    Ok(Some(key))
}

/// Creates a key file with the owner and group permission of another one. Does nothing if the file exists.
fn create(path: &Path, model: Option<&fs::Metadata>) -> io::Result<()> {
    let mut key = vec![0; KEY_LENGTH];
    random::fill(&mut key);
    private_folder::create_for(path)?;
    let draft = draft_of(path);
    let mut file = private_folder::create_file(&draft)?;
    if let Some(model) = model {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
            chown(&draft, Some(model.uid()), Some(model.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(MODE | (model.mode() & 0o040)))?;
    }
    file.write_all(&key)?;
    file.sync_all()?;
    // A link fails if the file exists. A rename would overwrite the key of the other process.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(path),
    }
}

/// Overwrites and removes a key file.
fn destroy(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.write_all(&[0; KEY_LENGTH])?;
    file.sync_all()?;
    fs::remove_file(path)?;
    sync_folder(path)
}

/// Makes the name of a key file durable. A key lost in a power cut would invalidate every token.
fn sync_folder(path: &Path) -> io::Result<()> {
    private_folder::sync(private_folder::of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &tempfile::TempDir) -> KeyFiles {
        KeyFiles::new(&folder.path().join("deep/master.key"))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_key_file_is_created_once_and_private_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        assert!(files.current().unwrap().is_none());
        let first = files.create().unwrap();
        assert_eq!(mode(files.path()), 0o600);
        assert_eq!(files.create().unwrap().id(), first.id());
        for (mode, is_accepted) in [(0o640, true), (0o400, true), (0o644, false), (0o660, false)] {
            fs::set_permissions(files.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(files.current().is_ok(), is_accepted, "{mode:o}");
        }
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_key_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "short").unwrap();
        let found = KeyFiles::new(&path).current();
        assert!(matches!(found, Err(OpenError::Key { length: 5, .. })));
    }

    #[test]
    fn the_next_key_takes_the_place_of_the_key_which_stays_until_it_is_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        let old = files.create().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o440)).unwrap();
        let new = files.create_next().unwrap();
        assert_ne!(new.id(), old.id());
        assert_eq!(files.create_next().unwrap().id(), new.id());
        assert_eq!(mode(&files.next_path()), 0o640);
        // A kill between link and rename.
        fs::hard_link(files.path(), files.previous_path()).unwrap();
        files.switch().unwrap();
        let id = |key: Option<MasterKey>| key.map(|key| key.id().to_owned());
        assert_eq!(id(files.current().unwrap()).as_deref(), Some(new.id()));
        assert_eq!(id(files.previous().unwrap()).as_deref(), Some(old.id()));
        assert!(files.next().unwrap().is_none());
        let still_open = fs::File::open(files.previous_path()).unwrap();
        files.destroy_previous().unwrap();
        files.destroy_previous().unwrap();
        let mut octets = Vec::new();
        io::Read::read_to_end(&mut &still_open, &mut octets).unwrap();
        assert_eq!(octets, [0; KEY_LENGTH], "overwritten before it is removed");
        assert_eq!(files.all().unwrap().len(), 1);
    }

    #[test]
    fn a_rotation_removes_drafts_of_keys_that_a_killed_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        files.create().unwrap();
        files.create_next().unwrap();
        let kept = files.path().with_extension("backup");
        for path in [draft_of(files.path()), draft_of(&files.next_path()), kept] {
            fs::write(path, [7; KEY_LENGTH]).unwrap();
        }
        let _lock = files.lock().unwrap();
        let found = fs::read_dir(folder.path().join("deep")).unwrap();
        let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["master.backup", "master.key", "master.key.new"]);
    }

    #[test]
    fn a_second_rotation_on_the_same_machine_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        files.create().unwrap();
        let _first = files.lock().unwrap();
        let second = files.lock().unwrap_err().to_string();
        assert!(second.contains("another key rotation"), "{second}");
    }
}
