//! Restoration of a backup.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::manifest::{
    DATABASE, FORMAT, FileEntry, INDEX, IndexLine, MANIFEST, Manifest, RECORDINGS,
};
use super::{BackupError, Progress, Step, checksum};
use crate::crypto::private_folder;
use crate::store::{DatabaseState, pause_endpoints};

/// Place of a restored store.
#[derive(Debug, Clone)]
pub(crate) struct RestoreTarget {
    /// File of the database.
    pub(crate) database: PathBuf,
    /// File of the master key; it must exist.
    pub(crate) key_file: PathBuf,
    /// Folder of recordings.
    pub(crate) recordings: PathBuf,
}

/// Backup whose files have the checksums of its manifest.
#[derive(Debug)]
pub(crate) struct VerifiedBackup {
    folder: PathBuf,
    manifest: Manifest,
    recordings: Vec<FileEntry>,
}

impl VerifiedBackup {
    /// Reads a backup and verifies its checksums, its version and that the key file is its key.
    pub(crate) fn open(
        folder: &Path,
        key_file: &Path,
        on_progress: &mut impl FnMut(Progress),
    ) -> Result<Self, BackupError> {
        let manifest = read_manifest(folder)?;
        match manifest.key_check.matches(key_file)? {
            Some(true) => {}
            Some(false) => return Err(BackupError::OtherKey(key_file.to_owned())),
            None => return Err(BackupError::MissingKey(key_file.to_owned())),
        }
        let recordings = if manifest.recordings.copied {
            verify(folder, &manifest.recordings.index, &mut |_| ())?;
            index(&folder.join(INDEX))?
        } else {
            Vec::new()
        };
        let copied: u64 = recordings.iter().map(|entry| entry.bytes).sum();
        let total = manifest.database.bytes.saturating_add(copied);
        let mut bytes = 0;
        let mut on_bytes = |read| {
            bytes += read;
            on_progress(Progress {
                step: Step::Verification,
                bytes,
                total,
            });
        };
        verify(folder, &manifest.database, &mut on_bytes)?;
        for entry in &recordings {
            verify(&folder.join(RECORDINGS), entry, &mut on_bytes)?;
        }
        let state = DatabaseState::read(&folder.join(DATABASE))?;
        if state.is_newer_schema() {
            let version = manifest.greenpin_version;
            return Err(BackupError::NewerVersion { version });
        }
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            recordings,
        })
    }

    /// Returns the manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Puts recordings and database in place, the database last. The caller holds the lock of the database.
    pub(crate) fn restore(
        &self,
        target: &RestoreTarget,
        holds_webhooks: bool,
        on_progress: &mut impl FnMut(Progress),
    ) -> Result<(), BackupError> {
        require_absent(&target.database)?;
        self.restore_recordings(&target.recordings, on_progress)?;
        let database = &target.database;
        private_folder::create_for(database).map_err(BackupError::io(database))?;
        let folder = database
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let draft = tempfile::Builder::new()
            .prefix(".greenpin.db.restore-")
            .tempfile_in(folder)
            .map_err(BackupError::io(folder))?;
        let from = self.folder.join(DATABASE);
        let (mut bytes, total) = (0, self.manifest.database.bytes);
        let mut on_bytes = |read| {
            bytes += read;
            on_progress(Progress {
                step: Step::Database,
                bytes,
                total,
            });
        };
        let copied = File::open(&from)
            .and_then(|mut from| {
                checksum::pass(&mut from, &mut draft.as_file(), DATABASE, &mut on_bytes)
            })
            .map_err(BackupError::io(draft.path()))?;
        compare(&from, &self.manifest.database, &copied)?;
        if holds_webhooks {
            pause_endpoints(draft.path())?;
        }
        give_to_owner_of(folder, draft.path())?;
        let lock = with_end(database, ".lock");
        if lock.exists() {
            give_to_owner_of(folder, &lock)?;
        }
        draft
            .as_file()
            .sync_all()
            .map_err(BackupError::io(draft.path()))?;
        put_in_place(draft, database)?;
        private_folder::sync(folder).map_err(BackupError::io(folder))
    }

    fn restore_recordings(
        &self,
        folder: &Path,
        on_progress: &mut impl FnMut(Progress),
    ) -> Result<(), BackupError> {
        if self.recordings.is_empty() {
            return Ok(());
        }
        private_folder::create(folder).map_err(BackupError::io(folder))?;
        let total = self.recordings.iter().map(|entry| entry.bytes).sum();
        let mut bytes = 0;
        let mut on_bytes = |read| {
            bytes += read;
            on_progress(Progress {
                step: Step::Recordings,
                bytes,
                total,
            });
        };
        for entry in &self.recordings {
            let (from, to) = (
                self.folder.join(RECORDINGS).join(&entry.name),
                folder.join(&entry.name),
            );
            if to.exists() {
                let found = checksum::entry(&to, &entry.name, &mut on_bytes);
                if found.map_err(BackupError::io(&to))? == *entry {
                    continue;
                }
                return Err(BackupError::Exists(to));
            }
            let draft = tempfile::Builder::new()
                .prefix(".restore-")
                .tempdir_in(folder)
                .map_err(BackupError::io(folder))?;
            let copy = draft.path().join(&entry.name);
            let copied = checksum::copy(&from, &copy, &entry.name, &mut on_bytes);
            compare(&from, entry, &copied.map_err(BackupError::io(&copy))?)?;
            give_to_owner_of(folder, &copy)?;
            fs::rename(&copy, &to).map_err(BackupError::io(&to))?;
        }
        private_folder::sync(folder).map_err(BackupError::io(folder))
    }
}

fn read_manifest(folder: &Path) -> Result<Manifest, BackupError> {
    let path = folder.join(MANIFEST);
    let no_backup = |reason: String| BackupError::NoBackup {
        path: path.clone(),
        reason,
    };
    let text = fs::read_to_string(&path).map_err(|error| no_backup(error.to_string()))?;
    let any: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| no_backup(error.to_string()))?;
    if any.get("format").and_then(serde_json::Value::as_u64) != Some(FORMAT.into()) {
        let version = any
            .get("greenpin_version")
            .and_then(serde_json::Value::as_str);
        let version = version.unwrap_or("unknown").to_owned();
        return Err(BackupError::NewerVersion { version });
    }
    let manifest: Manifest =
        serde_json::from_value(any).map_err(|error| no_backup(error.to_string()))?;
    if manifest.database.name == DATABASE && manifest.recordings.index.name == INDEX {
        Ok(manifest)
    } else {
        Err(no_backup("it names other files".to_owned()))
    }
}

/// Reads the files of the index.
fn index(path: &Path) -> Result<Vec<FileEntry>, BackupError> {
    let failed = BackupError::io(path);
    let mut files = Vec::new();
    for line in BufReader::new(File::open(path).map_err(&failed)?).lines() {
        let line: IndexLine =
            serde_json::from_str(&line.map_err(&failed)?).map_err(|error| failed(error.into()))?;
        if let Some(file) = line.file {
            let name = Path::new(&file.name);
            if name.file_name() != Some(name.as_os_str()) {
                return Err(failed(ErrorKind::InvalidData.into()));
            }
            files.push(file);
        }
    }
    Ok(files)
}

fn verify(
    folder: &Path,
    entry: &FileEntry,
    on_bytes: &mut impl FnMut(u64),
) -> Result<(), BackupError> {
    let path = folder.join(&entry.name);
    let found = checksum::entry(&path, &entry.name, on_bytes).map_err(BackupError::io(&path))?;
    compare(&path, entry, &found)
}

fn compare(path: &Path, expected: &FileEntry, found: &FileEntry) -> Result<(), BackupError> {
    let reason = if expected.bytes != found.bytes {
        "its length differs"
    } else if expected.sha256 != found.sha256 {
        "its checksum differs"
    } else {
        return Ok(());
    };
    Err(BackupError::Damaged {
        path: path.to_owned(),
        reason,
    })
}

/// Checks that there is no database, and no log of one that would be applied to the restored database.
fn require_absent(database: &Path) -> Result<(), BackupError> {
    for end in ["", "-wal", "-journal"] {
        let path = with_end(database, end);
        if path.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            return Err(BackupError::Exists(path));
        }
    }
    Ok(())
}

fn with_end(database: &Path, end: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

/// Gives a file the owner of its folder, so that a service can read what root has restored.
fn give_to_owner_of(folder: &Path, file: &Path) -> Result<(), BackupError> {
    let failed = BackupError::io(file);
    let (owner, own) = (
        fs::metadata(folder).map_err(&failed)?,
        fs::metadata(file).map_err(&failed)?,
    );
    if own.uid() == 0 && owner.uid() != 0 {
        chown(file, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    }
    Ok(())
}

/// Renames the complete copy to the database, in the place of an empty file or none.
fn put_in_place(draft: tempfile::NamedTempFile, database: &Path) -> Result<(), BackupError> {
    require_absent(database)?;
    let failed = BackupError::io(database);
    match fs::metadata(database) {
        Ok(_) => draft.persist(database).map(|_| ()),
        Err(_) => draft.persist_noclobber(database).map(|_| ()),
    }
    .map_err(|error| failed(error.error))
}
