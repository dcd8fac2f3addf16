//! File descriptors: the limit of the process is raised at the start, because each bridged call needs four.

use std::io;

/// File descriptors of a bridged call: two pairs of RTP and RTCP sockets.
const DESCRIPTORS_PER_CALL: u64 = 4;
/// File descriptors of everything else: database, listeners, connections, recordings.
const OTHER_DESCRIPTORS: u64 = 1500;

/// Raises the soft limit of open files to the hard limit, and warns if it is too low for `max_calls`.
pub(super) fn raise_limit(max_calls: usize) {
    let limit = match raise() {
        Ok(limit) => limit,
        Err(error) => return tracing::warn!(%error, "the limit of open files could not be raised"),
    };
    let calls = u64::try_from(max_calls).unwrap_or(u64::MAX);
    let needed = required(calls);
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
}

fn required(calls: u64) -> u64 {
    calls
        .saturating_mul(DESCRIPTORS_PER_CALL)
        .saturating_add(OTHER_DESCRIPTORS)
}

/// Returns the limit after it was raised (`setrlimit(2)`).
#[allow(
    unsafe_code,
    reason = "two C functions that read and write a local value; they are safe to call from any thread"
)]
fn raise() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // A failure returns -1 and leaves its reason in `errno`.
    let checked = |status: libc::c_int| match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_the_need_never_overflows() {
        let first = raise().unwrap();
        assert_eq!(raise().unwrap(), first, "it stays at the hard limit");
        assert_eq!(required(4000), 17_500);
        assert_eq!(required(u64::MAX), u64::MAX);
    }
}
