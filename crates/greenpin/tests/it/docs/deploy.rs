//! Files of `deploy/`: the tools that read them accept them, and they name existing metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Runs a program in the root of the repository, which must succeed, and returns its output.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program}: {text}");
    text
}

/// Returns the names of metrics in a text, without the suffixes of histograms.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let words = text.split(|byte| !is_name(byte));
    let names = words.filter(|word| word.starts_with("greenpin_"));
    names
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect()
}

#[test]
fn alerts_and_dashboard_name_existing_metrics() {
    let (page, rules) = (read("docs/reference/metrics.md"), read("deploy/alerts.yml"));
    let known = metrics(&page);
    let dashboard = read("deploy/grafana-dashboard.json");
    let json: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(json["panels"].as_array().unwrap().len() > 20);
    for (file, text) in [("alerts", &rules), ("dashboard", &dashboard)] {
        let used = metrics(text);
        assert!(used.len() > 10, "{file}: {used:?}");
        // Prometheus adds `_info` to the name of an info metric.
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn promtool_accepts_the_alerts_and_the_queries_of_the_dashboard() {
    run("promtool", &["check", "rules", "deploy/alerts.yml"]);
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let rules: Vec<String> = targets
        .enumerate()
        .map(|(index, target)| {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$instance", ".*");
            format!("      - record: panel:{index}\n        expr: {query:?}\n")
        })
        .collect();
    let text = format!(
        "groups:\n  - name: dashboard\n    rules:\n{}",
        rules.concat()
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yml");
    fs::write(&file, text).unwrap();
    run("promtool", &["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn the_systemd_unit_is_valid_and_hardened() {
    let folder = tempfile::tempdir().unwrap();
    // The unit is verified with a program and a user that exist.
    let unit = read("deploy/greenpin.service")
        .replace("/usr/local/bin/greenpin", "/bin/true")
        .replace("=greenpin\n", "=root\n");
    let file = folder.path().join("greenpin.service");
    fs::write(&file, unit).unwrap();
    let output = run(
        "systemd-analyze",
        &["verify", "--man=no", file.to_str().unwrap()],
    );
    assert!(!output.contains("Unknown"), "{output}");
    let arguments = [
        "security",
        "--offline=true",
        "--threshold=20",
        "deploy/greenpin.service",
    ];
    run("systemd-analyze", &arguments);
}
