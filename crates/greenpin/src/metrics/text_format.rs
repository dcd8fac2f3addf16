//! Text format of Prometheus 0.0.4, for scrapers that do not read OpenMetrics.

use std::collections::HashMap;

/// Converts metrics in OpenMetrics format. A counter is declared under the name of its samples, and an info metric as a
/// gauge; the format has no units and no end mark.
pub(crate) fn from_open_metrics(text: &str) -> String {
    let declared = |line| {
        let declaration = str::strip_prefix(line, "# TYPE ")?;
        declaration.split_once(' ')
    };
    let kinds: HashMap<&str, &str> = text.lines().filter_map(declared).collect();
    let mut converted = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let parts = (words.next(), words.next(), words.next(), words.next());
        match parts {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(keyword @ ("HELP" | "TYPE")), Some(name), rest) => {
                let (suffix, kind) = match kinds.get(name) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    Some(&"unknown") | None => ("", "untyped"),
                    Some(kind) => ("", *kind),
                };
                let rest = if keyword == "TYPE" {
                    kind
                } else {
                    rest.unwrap_or_default()
                };
                converted.push_str(&format!("# {keyword} {name}{suffix} {rest}"));
            }
            _ => converted.push_str(line),
        }
        converted.push('\n');
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_declared_under_the_name_of_their_samples() {
        let open_metrics = "# HELP calls Calls started.\n# TYPE calls counter\ncalls_total 3\n\
             # HELP time_seconds Time since x.\n# TYPE time_seconds gauge\n# UNIT time_seconds seconds\ntime_seconds 1.5\n\
             # HELP build Version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
        let text = "# HELP calls_total Calls started.\n# TYPE calls_total counter\ncalls_total 3\n\
             # HELP time_seconds Time since x.\n# TYPE time_seconds gauge\ntime_seconds 1.5\n\
             # HELP build_info Version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(from_open_metrics(open_metrics), text);
    }
}
