//! The relay bench works; what it measures is not judged here. Alone in its process, because it counts threads.

use greenpin::engine::audio::{MediaSettings, relay_bench};

#[test]
fn a_small_load_is_relayed_recorded_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MediaSettings { ports: 32_400..=32_499, ..MediaSettings::default() };
    let figures = relay_bench(&settings, 3, 1, folder.path()).unwrap();
    assert_eq!((figures.calls, figures.delivered), (3, 1.0));
    assert!(figures.bare_cpu > 0.0 && figures.bridged_cpu > 0.0 && figures.recorded_cpu > 0.0, "{figures:?}");
}
