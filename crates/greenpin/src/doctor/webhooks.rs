//! Receivers of webhooks: allowed addresses, DNS, TLS, connections, and secrets. No event is sent.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::Url;

use super::Context;
use super::certificates::judge_validity;
use super::deadline::{CHECK_TIMEOUT, no_answer};
use super::finding::{Check, Finding, Judgement};
use super::store::Endpoints;
use crate::crypto::validity::Validity;
use crate::store::{InspectedEndpoint, Timestamp};
use crate::webhooks::probe::{UnreachableReceiver, connect};

/// Maximum number of endpoints that are examined.
const MAX_EXAMINED: usize = 256;
/// Maximum number of connections at the same time.
const MAX_CONCURRENT: usize = 64;

/// Examines the endpoints of all tenants. Each receiver is connected to once.
pub(super) async fn examine(context: &Context, endpoints: Endpoints) -> Vec<Finding> {
    let endpoints = match endpoints {
        Ok(endpoints) => endpoints,
        Err(why) => {
            let remedy = "correct the store and its key first";
            return vec![Finding::not_checked(Check::Webhooks, "all", why, remedy)];
        }
    };
    if endpoints.is_empty() {
        return vec![Finding::ok(Check::Webhooks, "all", "no endpoints")];
    }
    let examined = endpoints.get(..MAX_EXAMINED).unwrap_or(&endpoints);
    let receivers: BTreeSet<String> = examined
        .iter()
        .filter_map(|endpoint| Some(origin(&Url::parse(&endpoint.url).ok()?)))
        .collect();
    let allow_private = context.config.webhooks_allow_private;
    let results: BTreeMap<String, Judgement> = stream::iter(receivers)
        .map(|receiver| async move {
            let judgement = examine_receiver(&receiver, allow_private).await;
            (receiver, judgement)
        })
        .buffer_unordered(MAX_CONCURRENT)
        .collect()
        .await;
    let of_endpoint = |endpoint| finding(endpoint, &results);
    let mut findings: Vec<Finding> = examined.iter().map(of_endpoint).collect();
    findings.extend(unexamined(endpoints.len()));
    findings
}

/// Returns the finding on the endpoints beyond the maximum.
fn unexamined(endpoints: usize) -> Option<Finding> {
    let others = endpoints.saturating_sub(MAX_EXAMINED);
    (others > 0).then(|| {
        let why = format!("there are more than {MAX_EXAMINED} endpoints");
        let remedy = "GET /v1/tenants/{tenant_id}/settings shows the state of each";
        let subject = format!("{others} further endpoints");
        Finding::not_checked(Check::Webhooks, subject, why, remedy)
    })
}

/// Returns scheme, host and port of a URL: paths may contain secrets.
pub(super) fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

async fn examine_receiver(receiver: &str, allow_private: bool) -> Judgement {
    let url = match Url::parse(receiver) {
        Ok(url) => url,
        Err(error) => {
            let remedy = "ask the tenant to correct its URL";
            return Judgement::Fault(error.to_string(), remedy.to_owned());
        }
    };
    match tokio::time::timeout(CHECK_TIMEOUT, connect(&url, allow_private)).await {
        Ok(connected) => judge_connection(connected),
        Err(_) => Judgement::Fault(
            no_answer(),
            "check the receiver, and the firewall between".to_owned(),
        ),
    }
}

fn judge_connection(
    connected: Result<Vec<CertificateDer<'static>>, UnreachableReceiver>,
) -> Judgement {
    let error = match connected {
        Ok(certificates) => {
            let remedy = "ask the tenant to renew the certificate of its receiver";
            return match Validity::of_all(&certificates) {
                Some(validity) => over_tls(judge_validity(validity, Timestamp::now(), remedy)),
                None => Judgement::Ok("reachable".to_owned()),
            };
        }
        Err(error) => error,
    };
    let remedy = match &error {
        UnreachableReceiver::Private => {
            "use a public address, or set webhooks.allow_private = true if your tenants may reach this network"
        }
        UnreachableReceiver::NameUnknown => "ask the tenant to correct the name in its URL",
        UnreachableReceiver::Io(_) => "check that the receiver runs, and the firewall between",
        UnreachableReceiver::Tls(_) => {
            "the certificate of the receiver must be for its host, valid, and lead to a CA of the system"
        }
        UnreachableReceiver::Trust(_) => {
            "install the CA certificates of the system (ca-certificates)"
        }
    };
    Judgement::Fault(error.to_string(), remedy.to_owned())
}

/// Names the certificate in the judgement on its validity.
fn over_tls(validity: Judgement) -> Judgement {
    let named = |reason: String| format!("reachable over TLS; certificate {reason}");
    match validity {
        Judgement::Ok(reason) => Judgement::Ok(named(reason)),
        Judgement::Warning(reason, remedy) => Judgement::Warning(named(reason), remedy),
        Judgement::Fault(reason, remedy) => Judgement::Fault(named(reason), remedy),
    }
}

/// Joins the state of an endpoint and the result of its receiver.
fn finding(endpoint: &InspectedEndpoint, results: &BTreeMap<String, Judgement>) -> Finding {
    let receiver = Url::parse(&endpoint.url).map(|url| origin(&url));
    let receiver = receiver.unwrap_or_else(|_| "invalid URL".to_owned());
    let subject = format!("{}: {receiver}", endpoint.tenant_id);
    let result = results.get(&receiver).cloned();
    judge_endpoint(endpoint, result).on(Check::Webhooks, subject)
}

fn judge_endpoint(endpoint: &InspectedEndpoint, receiver: Option<Judgement>) -> Judgement {
    if !endpoint.has_secret {
        return Judgement::Fault(
            "its secret cannot be decrypted: no event can be signed".to_owned(),
            "restore the master key that it was stored with, or rotate the secret of the endpoint"
                .to_owned(),
        );
    }
    match receiver {
        Some(Judgement::Ok(_)) if endpoint.disabled => Judgement::Warning(
            "disabled after too many failures, although reachable now: its events wait".to_owned(),
            "the tenant enables it with PUT /settings".to_owned(),
        ),
        Some(Judgement::Ok(reason)) if endpoint.paused => {
            Judgement::Ok(format!("{reason}; paused by the tenant"))
        }
        Some(Judgement::Fault(reason, remedy)) if endpoint.paused => {
            Judgement::Warning(format!("{reason}; paused by the tenant"), remedy)
        }
        Some(judgement) => judgement,
        None => Judgement::Fault(
            "its URL is not valid".to_owned(),
            "ask the tenant to correct it".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::store::TenantId;

    use super::*;

    fn endpoint() -> InspectedEndpoint {
        InspectedEndpoint {
            tenant_id: TenantId::parse("acme").unwrap(),
            url: "https://user:password@hooks.example.com/secret/path?token=1".into(),
            paused: false,
            disabled: false,
            has_secret: true,
        }
    }

    #[test]
    fn a_finding_names_tenant_scheme_host_and_port_and_no_more() {
        let reachable = Judgement::Ok("reachable".to_owned());
        let results = BTreeMap::from([("https://hooks.example.com".to_owned(), reachable)]);
        let found = finding(&endpoint(), &results);
        assert_eq!(found.subject, "acme: https://hooks.example.com");
        assert_eq!(found.remedy, None);
        let url = Url::parse("http://[2001:db8::1]:8080/x").unwrap();
        assert_eq!(origin(&url), "http://[2001:db8::1]:8080");
    }

    #[test]
    fn endpoints_beyond_the_maximum_are_counted() {
        assert_eq!(unexamined(MAX_EXAMINED), None);
        let found = unexamined(MAX_EXAMINED + 2).unwrap();
        assert_eq!(found.subject, "2 further endpoints");
        assert!(found.reason.starts_with("not checked"));
    }

    #[test]
    fn the_state_of_an_endpoint_counts_besides_its_receiver() {
        let reachable = || Some(Judgement::Ok("reachable".to_owned()));
        let disabled = InspectedEndpoint {
            disabled: true,
            ..endpoint()
        };
        assert!(matches!(
            judge_endpoint(&disabled, reachable()),
            Judgement::Warning(..)
        ));
        let without_secret = InspectedEndpoint {
            has_secret: false,
            ..endpoint()
        };
        assert!(matches!(
            judge_endpoint(&without_secret, reachable()),
            Judgement::Fault(..)
        ));
        let paused = InspectedEndpoint {
            paused: true,
            ..endpoint()
        };
        assert!(matches!(
            judge_endpoint(&paused, reachable()),
            Judgement::Ok(_)
        ));
        let refused = || {
            Some(Judgement::Fault(
                "refused".to_owned(),
                "start it".to_owned(),
            ))
        };
        assert!(matches!(
            judge_endpoint(&paused, refused()),
            Judgement::Warning(..)
        ));
        assert!(matches!(
            judge_endpoint(&endpoint(), refused()),
            Judgement::Fault(..)
        ));
        assert!(matches!(
            judge_endpoint(&endpoint(), None),
            Judgement::Fault(..)
        ));
    }

    #[test]
    fn each_failure_of_a_connection_has_its_remedy() {
        let judged = |error| match judge_connection(Err(error)) {
            Judgement::Fault(reason, remedy) => (reason, remedy),
            other => panic!("{other:?}"),
        };
        let (reason, remedy) = judged(UnreachableReceiver::Private);
        assert!(reason.contains("private") && remedy.contains("webhooks.allow_private"));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let (reason, remedy) = judged(UnreachableReceiver::Io(refused));
        assert!(reason.contains("refused") && remedy.contains("firewall"));
        assert!(matches!(judge_connection(Ok(Vec::new())), Judgement::Ok(_)));
    }
}
