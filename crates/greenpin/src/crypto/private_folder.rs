//! Folders that only the owner may read: they hold the database, keys and recordings.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Creates a folder and its parents with mode 0700. An existing folder keeps its mode.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Creates the folder of a file like [`create`].
pub(crate) fn create_for(file: &Path) -> io::Result<()> {
    match file.parent() {
        // A bare name is a file in the working directory.
        Some(folder) if !folder.as_os_str().is_empty() => create(folder),
        _ => Ok(()),
    }
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
