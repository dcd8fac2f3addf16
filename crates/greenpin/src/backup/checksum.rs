//! Checksums and copies of files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

use super::manifest::FileEntry;
use crate::crypto::private_folder;

const CHUNK_BYTES: usize = 256 * 1024;

/// Computes length and checksum of a file. `on_bytes` gets the length of each part.
pub(super) fn entry(
    path: &Path,
    name: &str,
    on_bytes: &mut impl FnMut(u64),
) -> io::Result<FileEntry> {
    pass(&mut File::open(path)?, &mut io::sink(), name, on_bytes)
}

/// Copies a file into a new one with mode 0600, durably. Returns length and checksum of the copied content.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    name: &str,
    on_bytes: &mut impl FnMut(u64),
) -> io::Result<FileEntry> {
    let mut source = File::open(from)?;
    let mut target = private_folder::create_file(to)?;
    let entry = pass(&mut source, &mut target, name, on_bytes)?;
    target.sync_all()?;
    Ok(entry)
}

/// Copies content from `source` to `target`.
pub(super) fn pass(
    source: &mut impl Read,
    target: &mut impl Write,
    name: &str,
    on_bytes: &mut impl FnMut(u64),
) -> io::Result<FileEntry> {
    let (mut digest, mut bytes) = (Context::new(&SHA256), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = chunk.get(..read).unwrap_or_default();
        digest.update(part);
        target.write_all(part)?;
        let length = u64::try_from(read).unwrap_or(0);
        bytes = bytes.saturating_add(length);
        on_bytes(length);
    }
    let sha256 = digest.finish();
    let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok(FileEntry {
        name: name.to_owned(),
        bytes,
        sha256: sha256.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_length_and_checksum_of_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "abc").unwrap();
        let mut passed = 0;
        let copied = copy(&path("a"), &path("b"), "b", &mut |bytes| passed += bytes).unwrap();
        assert_eq!((copied.bytes, passed), (3, 3));
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            copied.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(entry(&path("b"), "b", &mut |_| ()).unwrap(), copied);
        assert!(copy(&path("a"), &path("b"), "b", &mut |_| ()).is_err());
    }
}
