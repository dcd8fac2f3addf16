//! Folders and files that only the owner may read: they hold the database, keys and recordings.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates a folder and its parents with mode 0700. An existing folder keeps its mode.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Creates the folder of a file like [`create`].
pub(crate) fn create_for(file: &Path) -> io::Result<()> {
    create(of(file))
}

/// Creates a file with mode 0600. Fails if it exists.
pub(crate) fn create_file(file: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}

/// Returns the folder of a file.
pub(crate) fn of(file: &Path) -> &Path {
    file.parent()
        // A bare name is a file in the working directory.
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_folder_is_private_and_an_existing_one_unchanged() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("deep/data");
        let mode = |folder: &Path| folder.metadata().unwrap().permissions().mode() & 0o777;
        create(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, open).unwrap();
        create(&folder).unwrap();
        assert_eq!(mode(&folder), 0o755);
    }
}
