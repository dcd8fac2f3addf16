//! Smoke test of the relay benchmark. It runs alone in its process, because the benchmark counts threads.

use std::time::Duration;

use greenpin::calls::media::{MediaSettings, Relayed, delay_bench, relay_bench};

#[test]
fn a_small_load_is_relayed_recorded_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MediaSettings {
        ports: 32_400..=32_499,
        ..MediaSettings::default()
    };
    let figures = relay_bench(&settings, 3, 1, folder.path()).unwrap();
    assert_eq!((figures.calls, figures.delivered), (3, 1.0));
    assert!(
        figures.bare_cpu > 0.0 && figures.bridged_cpu > 0.0 && figures.recorded_cpu > 0.0,
        "{figures:?}"
    );
    assert!(figures.transcoded_cpu > 0.0, "{figures:?}");
    for through in [
        Relayed::Bare,
        Relayed::Plain,
        Relayed::Recorded(folder.path()),
        Relayed::Encrypted,
    ] {
        let delay = delay_bench(&settings, 3, Duration::from_millis(300), through).unwrap();
        assert_eq!(delay.lost, 0.0, "{through:?} {delay:?}");
        assert!(
            delay.median > Duration::ZERO && delay.p99 >= delay.median,
            "{through:?} {delay:?}"
        );
    }
}
