//! Folders that the server writes: free space, and whether they can be written.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Context;
use super::deadline::{blocking, no_answer};
use super::finding::{Check, Finding, Judgement};
use crate::crypto::private_folder;
use crate::store::Database;

const MEBIBYTE: u64 = 1024 * 1024;
/// Free space below which the server soon cannot write.
const MIN_FREE_BYTES: u64 = 256 * MEBIBYTE;
/// Free space below which an operator should act: about 18 hours of WAV recordings.
const LOW_FREE_BYTES: u64 = 2048 * MEBIBYTE;
/// Free inodes below which the server soon cannot make files.
const MIN_FREE_INODES: u64 = 1000;

/// Free space of a file system, for users other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free_bytes: u64,
    total_bytes: u64,
    /// `None`: the file system has no fixed number of inodes.
    free_inodes: Option<u64>,
}

/// Examines the file systems of the database and of the recordings.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let database = match &config.store.database {
        Database::File(file) => Some(private_folder::of(file).to_owned()),
        Database::Server(_) => None,
    };
    let recordings = config.recordings.folder.clone();
    let mut folders: Vec<_> = database.into_iter().chain([recordings]).collect();
    folders.dedup();
    let mut findings = Vec::new();
    for folder in folders {
        let subject = folder.display().to_string();
        let space = blocking(move || Space::of(existing_ancestor(&folder)));
        let judgement = match space.await {
            Some(Ok(space)) => space.judge(),
            Some(Err(error)) => Judgement::Warning(
                format!("not checked: {error}"),
                "correct the folder first".to_owned(),
            ),
            None => Judgement::Fault(
                no_answer(),
                "check the disk, or the network drive".to_owned(),
            ),
        };
        findings.push(judgement.on(Check::Disk, subject));
    }
    findings
}

impl Space {
    /// Reads the free space (`statvfs(3)`).
    #[allow(
        unsafe_code,
        reason = "a C function that reads a string and writes a local value; it is safe to call from any thread"
    )]
    fn of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut found = unsafe { std::mem::zeroed::<libc::statvfs>() };
        if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            reason = "the fields have other widths on other systems"
        )]
        let bytes =
            |blocks: libc::fsblkcnt_t| u64::from(blocks).saturating_mul(found.f_frsize as u64);
        Ok(Self {
            free_bytes: bytes(found.f_bavail),
            total_bytes: bytes(found.f_blocks),
            #[allow(clippy::useless_conversion, reason = "another width on other systems")]
            free_inodes: (found.f_files > 0).then(|| u64::from(found.f_favail)),
        })
    }

    fn judge(self) -> Judgement {
        let reason = format!(
            "{} of {} free",
            size(self.free_bytes),
            size(self.total_bytes)
        );
        let remedy = "free space, or shorten the retention of recordings and calls";
        if let Some(inodes) = self.free_inodes.filter(|inodes| *inodes < MIN_FREE_INODES) {
            let reason = format!("{reason}, but only {inodes} inodes");
            return Judgement::Fault(reason, remedy.to_owned());
        }
        match self.free_bytes {
            ..MIN_FREE_BYTES => Judgement::Fault(reason, remedy.to_owned()),
            MIN_FREE_BYTES..LOW_FREE_BYTES => Judgement::Warning(reason, remedy.to_owned()),
            _ => Judgement::Ok(reason),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes / MEBIBYTE {
        mebibytes @ ..10_240 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes / 1024),
    }
}

/// Returns the nearest folder above a path that exists, or the path itself.
pub(super) fn existing_ancestor(path: &Path) -> &Path {
    let found = path.ancestors().find(|ancestor| ancestor.exists());
    // The ancestors of a relative path end with an empty one.
    found
        .filter(|found| !found.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Judges a folder that the server writes, or will make. Blocks. `then` is the rest of the reason for `ok`.
pub(super) fn judge_folder(folder: &Path, then: &str) -> Judgement {
    let found = existing_ancestor(folder);
    let absolute = found.canonicalize();
    let shown = absolute.as_deref().unwrap_or(found).display();
    if !found.is_dir() {
        return Judgement::Fault(
            format!("{shown} is not a folder"),
            "remove that file, or name another place in the configuration".to_owned(),
        );
    }
    // The file has no name, and ends with its handle.
    match tempfile::tempfile_in(found) {
        Ok(_) if found == folder || folder.as_os_str().is_empty() => Judgement::Ok(then.to_owned()),
        Ok(_) => Judgement::Ok(format!("{then}, with its folder in {shown}")),
        Err(error) => Judgement::Fault(
            format!("{shown} cannot be written: {error}"),
            "give the folder to the user of the server, on a file system that can be written"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_a_warning_and_almost_none_a_fault() {
        let judged = |mebibytes: u64, free_inodes| {
            let space = Space {
                free_bytes: mebibytes * MEBIBYTE,
                total_bytes: 100 * 1024 * MEBIBYTE,
                free_inodes,
            };
            space.judge()
        };
        assert_eq!(
            judged(50 * 1024, Some(5000)),
            Judgement::Ok("50 GiB of 100 GiB free".to_owned())
        );
        assert!(matches!(judged(2048, None), Judgement::Ok(_)));
        assert!(matches!(judged(2047, None), Judgement::Warning(..)));
        assert!(matches!(judged(256, None), Judgement::Warning(..)));
        assert!(matches!(judged(255, None), Judgement::Fault(..)));
        assert!(matches!(judged(50 * 1024, Some(999)), Judgement::Fault(..)));
    }

    #[test]
    fn the_space_of_a_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path()).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
        assert!(Space::of(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_folder_is_judged_without_a_trace() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        let judged = |name: &str| judge_folder(&path(name), "will be made");
        assert_eq!(judged(""), Judgement::Ok("will be made".to_owned()));
        let Judgement::Ok(reason) = judged("deep/data") else {
            panic!("it can be made");
        };
        assert!(reason.starts_with("will be made, with its folder in "));
        for name in ["file", "file/data"] {
            let Judgement::Fault(reason, _) = judged(name) else {
                panic!("{name}");
            };
            assert!(reason.contains("is not a folder"), "{reason}");
        }
        let left = std::fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left, 1, "only the file of the test");
        assert_eq!(
            existing_ancestor(Path::new("nowhere/at/all")),
            Path::new(".")
        );
    }
}
