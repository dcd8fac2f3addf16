//! File descriptors: the limit of the process is raised at the start, because each bridged call needs four. If it stays
//! low, HTTP connections get a quarter of it at most, so that they cannot take the descriptors of calls.

use std::io;

use crate::http::ConnectionLimits;

/// File descriptors of a bridged call: two pairs of RTP and RTCP sockets.
const DESCRIPTORS_PER_CALL: u64 = 4;
/// File descriptors of everything else: database, listeners, connections, recordings.
pub(crate) const OTHER_DESCRIPTORS: u64 = 1500;

/// Share of all file descriptors that HTTP connections may take: one part in this number.
const HTTP_SHARE: u64 = 4;

/// Raises the soft limit of open files to the hard limit, and warns if it is too low for `max_calls`. Returns the limit.
pub(super) fn raise_limit(max_calls: usize) -> Option<u64> {
    let limit = match raise() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            return None;
        }
    };
    let calls = u64::try_from(max_calls).unwrap_or(u64::MAX);
    let needed = required_descriptors(calls);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            max_calls,
            "the limit of open files is too low for sip.max_calls; raise LimitNOFILE or ulimit -n"
        );
    } else {
        tracing::debug!(limit, "limit of open files");
    }
    Some(limit)
}

/// Returns the configured limits of HTTP connections, lowered to their share of the open files. The share of one address
/// shrinks in proportion.
pub(super) fn http_connections(
    configured: ConnectionLimits,
    files: Option<u64>,
) -> ConnectionLimits {
    let share = files.and_then(|files| usize::try_from(files / HTTP_SHARE).ok());
    let total = share.unwrap_or(usize::MAX).clamp(1, configured.total);
    let per_address = configured
        .per_address
        .saturating_mul(total)
        .div_ceil(configured.total.max(1));
    if total < configured.total {
        tracing::warn!(
            connections = total,
            per_address,
            max_connections = configured.total,
            "the limit of open files lowers http.max_connections"
        );
    }
    ConnectionLimits { total, per_address }
}

/// Returns the file descriptors that a number of calls needs.
pub(crate) fn required_descriptors(calls: u64) -> u64 {
    calls
        .saturating_mul(DESCRIPTORS_PER_CALL)
        .saturating_add(OTHER_DESCRIPTORS)
}

/// Limits of open files of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) soft: u64,
    /// Limit that the process may raise the soft limit to.
    pub(crate) hard: u64,
}

impl OpenFiles {
    /// Reads the limits (`getrlimit(2)`).
    #[allow(
        unsafe_code,
        reason = "a C function that writes a local value; it is safe to call from any thread"
    )]
    pub(crate) fn read() -> io::Result<Self> {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
        Ok(Self {
            soft: limit.rlim_cur,
            hard: limit.rlim_max,
        })
    }
}

/// Raises the soft limit to the hard limit (`setrlimit(2)`), and returns it.
#[allow(
    unsafe_code,
    reason = "a C function that reads a local value; it is safe to call from any thread"
)]
fn raise() -> io::Result<u64> {
    let OpenFiles { hard, .. } = OpenFiles::read()?;
    let limit = libc::rlimit {
        rlim_cur: hard,
        rlim_max: hard,
    };
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(hard)
}

/// Returns the error of a C function. A failure returns -1 and leaves its reason in `errno`.
fn checked(status: libc::c_int) -> io::Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_the_need_never_overflows() {
        let first = raise().unwrap();
        assert_eq!(raise().unwrap(), first, "it stays at the hard limit");
        assert_eq!(required_descriptors(4000), 17_500);
        assert_eq!(required_descriptors(u64::MAX), u64::MAX);
    }

    #[test]
    fn http_connections_get_a_quarter_of_the_open_files() {
        let configured = ConnectionLimits {
            total: 4096,
            per_address: 1024,
        };
        let limits = |files| {
            let ConnectionLimits { total, per_address } = http_connections(configured, files);
            (total, per_address)
        };
        assert_eq!(limits(None), (4096, 1024));
        assert_eq!(limits(Some(1_000_000)), (4096, 1024));
        assert_eq!(limits(Some(1024)), (256, 64));
        assert_eq!(limits(Some(256)), (64, 16));
        assert_eq!(limits(Some(3)), (1, 1));
    }
}
