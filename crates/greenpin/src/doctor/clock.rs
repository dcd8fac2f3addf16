//! The clock of this machine, and its difference from that of the database.

use std::time::Duration;

use super::deadline::blocking;
use super::finding::{Check, Finding, Judgement};
use crate::store::Timestamp;

/// Difference from which on it is a warning.
const MAX_OFFSET: Duration = Duration::from_secs(1);
/// Difference from which on leases, expiries and the order of events are wrong.
const MAX_BEARABLE_OFFSET: Duration = Duration::from_secs(30);

/// Examines the clock of this machine.
pub(super) async fn examine() -> Vec<Finding> {
    let synchronized = blocking(is_synchronized).await.flatten();
    synchronized
        .map(|synchronized| judge_synchronization(synchronized).on(Check::Clock, "system clock"))
        .into_iter()
        .collect()
}

fn judge_synchronization(synchronized: bool) -> Judgement {
    match synchronized {
        true => Judgement::Ok("synchronised".to_owned()),
        false => Judgement::Warning(
            "not synchronised by the system: certificates, signatures and the order of events depend on it".to_owned(),
            "run an NTP client, such as chrony or systemd-timesyncd".to_owned(),
        ),
    }
}

/// Judges the clock of the database, which was read between two moments of this machine.
pub(super) fn judge_database_clock(
    database: Timestamp,
    before: Timestamp,
    after: Timestamp,
) -> Judgement {
    // The time on the way is not known, so only what is outside of it counts.
    let ahead = database.since(after);
    let behind = before.since(database);
    let offset = ahead.max(behind);
    let word = match behind > ahead {
        true => "behind",
        false => "ahead of",
    };
    let reason = format!(
        "{:.1} s {word} the clock of this machine",
        offset.as_secs_f64()
    );
    let remedy =
        "synchronise both clocks (NTP): leases, expiries and the order of events depend on them";
    if offset > MAX_BEARABLE_OFFSET {
        Judgement::Fault(reason, remedy.to_owned())
    } else if offset > MAX_OFFSET {
        Judgement::Warning(reason, remedy.to_owned())
    } else {
        Judgement::Ok("the same as that of this machine".to_owned())
    }
}

/// Returns whether the system synchronises its clock (`adjtimex(2)`); `None`: the state is unknown.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "a C function that reads and writes a local value, and changes nothing with mode 0"
)]
fn is_synchronized() -> Option<bool> {
    /// `STA_UNSYNC`: the clock is not synchronised.
    const UNSYNCHRONIZED: libc::c_int = 0x40;
    let mut state = unsafe { std::mem::zeroed::<libc::timex>() };
    let result = unsafe { libc::adjtimex(&raw mut state) };
    (result >= 0).then_some(state.status & UNSYNCHRONIZED == 0)
}

#[cfg(not(target_os = "linux"))]
fn is_synchronized() -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_the_way_does_not_explain() {
        let at = |seconds: i64| Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000);
        // The answer took four seconds.
        let judged = |database: i64| judge_database_clock(at(database), at(0), at(4));
        for same in [0, 2, 4, 5, -1] {
            assert!(matches!(judged(same), Judgement::Ok(_)), "{same}");
        }
        let Judgement::Warning(reason, _) = judged(6) else {
            panic!("a warning");
        };
        assert_eq!(reason, "2.0 s ahead of the clock of this machine");
        let Judgement::Fault(reason, _) = judged(-31) else {
            panic!("a fault");
        };
        assert_eq!(reason, "31.0 s behind the clock of this machine");
        assert!(matches!(judged(34), Judgement::Warning(..)));
        assert!(matches!(judged(35), Judgement::Fault(..)));
    }

    #[test]
    fn a_clock_without_synchronization_is_a_warning() {
        assert!(matches!(judge_synchronization(true), Judgement::Ok(_)));
        assert!(matches!(
            judge_synchronization(false),
            Judgement::Warning(..)
        ));
    }
}
