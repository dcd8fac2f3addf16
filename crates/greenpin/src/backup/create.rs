//! Creation of a backup beside a running server.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::manifest::{
    DATABASE, FORMAT, FileEntry, INDEX, IndexLine, MANIFEST, Manifest, RECORDINGS, RecordingsEntry,
};
use super::{BackupError, Progress, Step, checksum};
use crate::crypto::private_folder;
use crate::store::{
    DatabaseState, RecordingLocation, Timestamp, copy_database, for_each_recording,
};

/// Interval at which the growth of the copy is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Store to back up.
#[derive(Debug, Clone)]
pub(crate) struct BackupSource {
    /// File of the database.
    pub(crate) database: PathBuf,
    /// File of the master key.
    pub(crate) key_file: PathBuf,
    /// Folder of recordings.
    pub(crate) recordings: PathBuf,
    /// Copy the files of the recordings as well.
    pub(crate) copies_recordings: bool,
}

/// Makes a backup in a folder that does not exist, or is empty. The folder appears when it is complete.
pub(crate) fn create(
    source: &BackupSource,
    folder: &Path,
    now: Timestamp,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Manifest, BackupError> {
    check_source(source)?;
    let folder = std::path::absolute(folder).map_err(BackupError::io(folder))?;
    check_folder(&folder)?;
    let partial = partial_folder(&folder)?;
    let path = |name: &str| partial.path().join(name);
    copy(&source.database, &path(DATABASE), on_progress)?;
    let state = DatabaseState::read(&path(DATABASE))?;
    let (Some(key_check), false) = (state.key_check, state.is_rotating) else {
        return Err(BackupError::Rotating);
    };
    let database = path(DATABASE);
    let database_entry =
        checksum::entry(&database, DATABASE, &mut |_| ()).map_err(BackupError::io(&database))?;
    let recordings = Recordings::collect(source, partial.path(), on_progress)?;
    let manifest = Manifest {
        format: FORMAT,
        greenpin_version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: state.schema_version,
        created_at: now.rfc3339(&TimeZone::UTC),
        key_check,
        database: database_entry,
        recordings,
    };
    write_manifest(&path(MANIFEST), &manifest)?;
    publish(partial, &folder)?;
    Ok(manifest)
}

/// Checks that the database exists and that the key file is its key.
fn check_source(source: &BackupSource) -> Result<(), BackupError> {
    if !source.database.exists() {
        return Err(BackupError::NoDatabase(source.database.clone()));
    }
    let state = DatabaseState::read(&source.database)?;
    if state.is_rotating {
        return Err(BackupError::Rotating);
    }
    let check = state
        .key_check
        .ok_or_else(|| BackupError::NoDatabase(source.database.clone()))?;
    match check.matches(&source.key_file)? {
        Some(true) => Ok(()),
        Some(false) => Err(BackupError::OtherKey(source.key_file.clone())),
        None => Err(BackupError::MissingKey(source.key_file.clone())),
    }
}

fn check_folder(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(BackupError::NotEmpty(folder.to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io(folder)(error)),
    }
}

/// Creates the folder of the incomplete backup beside the final one. It is removed if the backup fails.
fn partial_folder(folder: &Path) -> Result<TempDir, BackupError> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    fs::create_dir_all(parent).map_err(BackupError::io(parent))?;
    tempfile::Builder::new()
        .prefix(&format!(".{name}.partial-"))
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(BackupError::io(parent))
}

/// Copies the database on a thread, and reports the growth of the copy.
fn copy(
    database: &Path,
    copy: &Path,
    on_progress: &mut impl FnMut(Progress),
) -> Result<(), BackupError> {
    let failed = BackupError::io(copy);
    private_folder::create_file(copy).map_err(&failed)?;
    let total = fs::metadata(database).map_or(0, |metadata| metadata.len());
    std::thread::scope(|scope| {
        let (done, copied) = channel();
        scope.spawn(move || done.send(copy_database(database, copy)));
        loop {
            match copied.recv_timeout(REPORT_INTERVAL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => on_progress(Progress {
                    step: Step::Database,
                    bytes: fs::metadata(copy).map_or(0, |metadata| metadata.len()),
                    total,
                }),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })?;
    File::open(copy)
        .and_then(|file| file.sync_all())
        .map_err(failed)
}

/// Recordings that are being collected.
struct Recordings<'a, P> {
    source: &'a BackupSource,
    folder: PathBuf,
    index: BufWriter<File>,
    index_path: PathBuf,
    entry: RecordingsEntry,
    on_progress: &'a mut P,
}

impl<'a, P: FnMut(Progress)> Recordings<'a, P> {
    /// Writes the index of the recordings that the copied database names, and copies their files if wanted.
    fn collect(
        source: &'a BackupSource,
        partial: &Path,
        on_progress: &'a mut P,
    ) -> Result<RecordingsEntry, BackupError> {
        let index_path = partial.join(INDEX);
        let index =
            private_folder::create_file(&index_path).map_err(BackupError::io(&index_path))?;
        let folder = partial.join(RECORDINGS);
        if source.copies_recordings {
            fs::create_dir(&folder).map_err(BackupError::io(&folder))?;
        }
        let none = FileEntry {
            name: INDEX.to_owned(),
            bytes: 0,
            sha256: String::new(),
        };
        let mut recordings = Self {
            source,
            folder,
            index: BufWriter::new(index),
            index_path,
            entry: RecordingsEntry {
                index: none,
                count: 0,
                files: 0,
                bytes: 0,
                copied: source.copies_recordings,
            },
            on_progress,
        };
        for_each_recording(&partial.join(DATABASE), |found| recordings.add(&found))?;
        recordings.finish()
    }

    fn add(&mut self, found: &RecordingLocation) -> Result<(), BackupError> {
        let file = self.file(&found.location)?;
        self.entry.count += 1;
        self.entry.files += u64::from(file.is_some());
        let line = IndexLine {
            tenant_id: found.tenant_id.to_string(),
            call_sid: found.call_sid.to_string(),
            location: found.location.clone(),
            file,
        };
        let failed = BackupError::io(&self.index_path);
        serde_json::to_writer(&mut self.index, &line).map_err(|error| failed(error.into()))?;
        self.index.write_all(b"\n").map_err(failed)
    }

    /// Reads or copies the file of a recording; `None` if it is in a bucket, or was removed meanwhile.
    fn file(&mut self, location: &str) -> Result<Option<FileEntry>, BackupError> {
        if location.starts_with("s3://") {
            return Ok(None);
        }
        let path = PathBuf::from(location);
        let Some(name) = path.file_name().map(ToOwned::to_owned) else {
            return Ok(None);
        };
        let moved = self.source.recordings.join(&name);
        let Some(path) = [path, moved].into_iter().find(|path| path.exists()) else {
            return Ok(None);
        };
        let text = name.to_string_lossy();
        let (mut passed, on_progress) = (self.entry.bytes, &mut *self.on_progress);
        let mut on_bytes = |bytes| {
            passed += bytes;
            on_progress(Progress {
                step: Step::Recordings,
                bytes: passed,
                total: 0,
            });
        };
        let read = if self.entry.copied {
            checksum::copy(&path, &self.folder.join(&name), &text, &mut on_bytes)
        } else {
            checksum::entry(&path, &text, &mut on_bytes)
        };
        match read {
            Ok(entry) => {
                self.entry.bytes += entry.bytes;
                Ok(Some(entry))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::io(&path)(error)),
        }
    }

    fn finish(self) -> Result<RecordingsEntry, BackupError> {
        let failed = BackupError::io(&self.index_path);
        let file = self
            .index
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(&failed)?;
        let index = checksum::entry(&self.index_path, INDEX, &mut |_| ()).map_err(failed)?;
        if self.entry.copied {
            sync_folder(&self.folder)?;
        }
        Ok(RecordingsEntry {
            index,
            ..self.entry
        })
    }
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let write = || {
        let mut file = private_folder::create_file(path)?;
        serde_json::to_writer_pretty(&mut file, manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(BackupError::io(path))
}

/// Gives the complete backup its name.
fn publish(partial: TempDir, folder: &Path) -> Result<(), BackupError> {
    sync_folder(partial.path())?;
    // A rename replaces an empty folder only.
    match fs::rename(partial.path(), folder) {
        Ok(()) => drop(partial.keep()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            return Err(BackupError::NotEmpty(folder.to_owned()));
        }
        Err(error) => return Err(BackupError::io(folder)(error)),
    }
    sync_folder(folder.parent().unwrap_or(Path::new("/")))
}

fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    private_folder::sync(folder).map_err(BackupError::io(folder))
}
