//! The folder or bucket of the recordings: a small object is written, read back and deleted.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use super::Context;
use super::deadline::{blocking, no_answer};
use super::disk::{existing_ancestor, judge_folder};
use super::finding::{Check, Finding, Judgement};
use crate::recordings::Bucket;
use crate::server::open_recordings;
use crate::store::Database;

/// Time limit for the three requests to a bucket.
const BUCKET_TIMEOUT: Duration = Duration::from_secs(15);
/// Content of the trial object.
const CONTENT: &[u8] = b"greenpin doctor";

/// Examines the storage of recordings.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let folder = config.recordings.folder.clone();
    let subject = format!("file:{}", folder.display());
    let remedy = "check the disk, or the network drive";
    let judgement = blocking(move || judge_recordings_folder(&folder)).await;
    let judgement = judgement.unwrap_or_else(|| Judgement::Fault(no_answer(), remedy.to_owned()));
    let mut findings = vec![judgement.on(Check::Recordings, subject)];
    findings.extend(unshared(context));
    match open_recordings(config) {
        Ok(recordings) => {
            if let Some(bucket) = recordings.bucket() {
                findings.push(of_bucket(bucket, &config.node).await);
            }
        }
        Err(error) => findings.push(Finding::fault(
            Check::Recordings,
            "bucket",
            error.to_string(),
            "correct the keys of [recordings]",
        )),
    }
    findings
}

/// Warns of a folder that other nodes do not see.
fn unshared(context: &Context) -> Option<Finding> {
    let recordings = &context.config.recordings;
    let is_server = matches!(context.config.store.database, Database::Server(_));
    let is_unshared = is_server && !recordings.shared && recordings.bucket.is_none();
    is_unshared.then(|| {
        Finding::warning(
            Check::Recordings,
            "recordings.url",
            "not set: only this node has the recordings that it makes",
            "set it to a bucket, or to a folder with recordings.shared = true",
        )
    })
}

fn judge_recordings_folder(folder: &Path) -> Judgement {
    if existing_ancestor(folder) != folder {
        return judge_folder(folder, "it will be made at the first start");
    }
    if !folder.is_dir() {
        return judge_folder(folder, "");
    }
    match try_folder(folder) {
        Ok(()) => Judgement::Ok("written, read back and deleted".to_owned()),
        Err(error) => Judgement::Fault(
            format!("cannot be used: {error}"),
            "give the folder to the user of the server, on a file system that can be written"
                .to_owned(),
        ),
    }
}

/// Writes, reads and deletes a file.
fn try_folder(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".greenpin-doctor-")
        .tempfile_in(folder)?;
    file.write_all(CONTENT)?;
    file.as_file().sync_all()?;
    file.rewind()?;
    let mut read = Vec::new();
    file.read_to_end(&mut read)?;
    let path = file.into_temp_path();
    if read != CONTENT || fs::read(&path)? != CONTENT {
        return Err(io::Error::other("another content was read than written"));
    }
    path.close()
}

async fn of_bucket(bucket: &Bucket, node: &str) -> Finding {
    let subject = "bucket";
    let remedy = "check recordings.url, endpoint, region and the access key, and that it may put, get and delete objects";
    // Another name than that of the server, whose probe may run now.
    let name = format!("{node}-doctor");
    match tokio::time::timeout(BUCKET_TIMEOUT, bucket.probe(&name)).await {
        Ok(Ok(())) => Finding::ok(Check::Recordings, subject, "written, read back and deleted"),
        Ok(Err(error)) => Finding::fault(Check::Recordings, subject, error.to_string(), remedy),
        Err(_) => {
            let reason = format!("no answer within {} s", BUCKET_TIMEOUT.as_secs());
            Finding::fault(Check::Recordings, subject, reason, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_the_folder_as_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let judged = |name: &str| judge_recordings_folder(&temporary.path().join(name));
        assert_eq!(
            judged(""),
            Judgement::Ok("written, read back and deleted".to_owned())
        );
        assert!(matches!(judged("recordings"), Judgement::Ok(_)));
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
        fs::write(temporary.path().join("recordings"), "").unwrap();
        assert!(matches!(judged("recordings"), Judgement::Fault(..)));
    }
}
