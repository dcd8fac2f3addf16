//! Metrics for a monitoring system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::support::http_client::{call, create, raw, raw_text, request};
use crate::support::server::{Server, TIMEOUT, trunk};
use crate::support::tls::{Certificates, sip};

fn scrape(server: &Server) -> String {
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (response, text) = raw_text(server.http, &request("GET", "/metrics", accept, b""));
    assert_eq!(response.status, 200);
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    text
}

/// Returns the value of a sample by name and labels.
fn sample_value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Returns the names of metric families with samples.
fn metric_families(text: &str) -> BTreeSet<String> {
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '));
    let suffixed = types.map(|(name, kind)| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    });
    suffixed.collect()
}

#[test]
fn every_metric_is_in_its_document_and_every_one_of_the_document_is_served() {
    let keys = "register = true\nusername = \"trunk-user\"\npassword = \"a fictional password\"";
    let carrier = trunk("carrier", "127.0.0.1:9".parse().unwrap(), keys);
    let server = Server::with(&(sip(&Certificates::new()) + &carrier));
    scrape(&server);
    let served = metric_families(&scrape(&server));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    let document = fs::read_to_string(path).unwrap();
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next());
    assert_eq!(served, rows.map(str::to_owned).collect());
    assert!(served.iter().all(|name| name.starts_with("greenpin_")));
}

#[test]
fn a_scraper_without_open_metrics_gets_the_text_format() {
    let server = Server::with("");
    let (response, text) = raw_text(server.http, &request("GET", "/metrics", "", b""));
    let kind = response.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "# TYPE greenpin_calls_started_total counter",
        "greenpin_calls_started_total 0",
        "# TYPE greenpin_build_info gauge",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line}:\n{text}"
        );
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

#[test]
fn the_expiry_of_certificates_is_a_metric() {
    let certificates = Certificates::new();
    let keys = certificates.identity("other");
    let carrier = format!("[[trunks]]\nname = \"carrier\"\npeer = \"sips:127.0.0.1:9\"\n{keys}");
    let server = Server::with(&(sip(&certificates) + &carrier));
    let text = scrape(&server);
    for trunk in ["", "carrier"] {
        let name = format!("greenpin_tls_certificate_expiry_time_seconds{{trunk=\"{trunk}\"}}");
        // 2099-01-01T00:00:00Z
        assert_eq!(sample_value(&text, &name), 4_070_908_800.0);
    }
}

#[test]
fn requests_are_counted_by_route_template_and_not_by_path() {
    let server = Server::with("");
    server.add_number("+914000000001", &[]);
    let body = json!({ "caller_id_number": "+914000000001", "from": "+919900000001", "to": "+918800000001" });
    let made = create(server.http, &body.to_string());
    assert_eq!(made.status, 201);
    let (id, pin) = (
        made.body["response"]["greenpin_id"].as_str().unwrap(),
        made.body["response"]["pin"].as_str().unwrap(),
    );
    assert_eq!(
        call(server.http, "GET", &format!("/greenpin/{id}")).status,
        200
    );
    assert_eq!(call(server.http, "GET", "/greenpin/gp_unknown").status, 404);
    assert_eq!(
        raw(server.http, &request("BREW", "/no/such/path", "", b"")).status,
        404
    );
    let text = scrape(&server);
    let read = |status: &str| {
        let labels = format!(
            "route=\"/v1/tenants/{{tenant_id}}/greenpin/{{greenpin_id}}\",method=\"GET\",status=\"{status}\""
        );
        sample_value(&text, &format!("greenpin_http_requests_total{{{labels}}}"))
    };
    assert_eq!((read("2xx"), read("4xx")), (1.0, 1.0));
    let unmatched =
        "greenpin_http_requests_total{route=\"unmatched\",method=\"other\",status=\"4xx\"}";
    assert_eq!(sample_value(&text, unmatched), 1.0);
    assert!(sample_value(&text, "greenpin_store_jobs_total") >= 1.0);
    // The server also writes in the background, and completes pending work eventually.
    let deadline = Instant::now() + TIMEOUT;
    while sample_value(&scrape(&server), "greenpin_store_queue_jobs") != 0.0 {
        assert!(Instant::now() < deadline, "the queue never empties");
    }
    for secret in [
        "914000000001",
        "919900000001",
        "918800000001",
        id,
        &format!("\"{pin}\""),
    ] {
        assert!(!text.contains(secret), "{secret} is in a metric");
    }
}
