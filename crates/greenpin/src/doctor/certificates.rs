//! Own certificates: their files, order and expiry.

use std::path::Path;

use jiff::tz::TimeZone;
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::Url;

use super::Context;
use super::deadline::{blocking, no_answer};
use super::finding::{Check, Finding, Judgement};
use crate::calls::sip::{Identity, TlsError};
use crate::config::Config;
use crate::crypto::tls_roots::certificates;
use crate::crypto::validity::{Validity, is_linked};
use crate::store::Timestamp;

/// Time before the expiry of a certificate from which on it is a warning.
const MIN_DAYS_LEFT: i64 = 30;
const DAY_SECONDS: i64 = 24 * 3600;

/// Examines the certificates of the configuration.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let config = context.config.clone();
    let examined = blocking(move || examine_files(&config)).await;
    examined.unwrap_or_else(|| {
        let remedy = "check the disk with the certificates";
        vec![Finding::not_checked(
            Check::Tls,
            "files",
            no_answer(),
            remedy,
        )]
    })
}

fn examine_files(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(tls) = &config.sip.tls {
        let own = "sip.tls_certificate";
        findings.push(of_identity(own, &tls.identity, tls.check()));
        let ca = tls.client_ca.as_deref();
        findings.extend(ca.map(|ca| of_authorities("sip.tls_client_ca", ca)));
    }
    if let Some(identity) = &config.http.identity {
        let loaded = identity.server_config(None).map(|_| ());
        let own = "http.tls_certificate";
        findings.push(of_identity(own, identity, loaded));
        findings.extend(of_public_url(config, identity));
    }
    for trunk in &config.trunks {
        if let Some(identity) = &trunk.tls_identity {
            let loaded = trunk.tls_peer().map_or(Ok(()), |peer| peer.check());
            let own = format!("{}: tls_certificate", trunk.name);
            findings.push(of_identity(&own, identity, loaded));
        }
        let ca = trunk.tls_ca.as_deref();
        let subject = format!("{}: tls_ca", trunk.name);
        findings.extend(ca.map(|ca| of_authorities(&subject, ca)));
    }
    if let Some(ca) = &config.store.tls_ca {
        findings.push(of_authorities("store.tls_ca", ca));
    }
    findings
}

/// Examines a certificate of this server. `loaded`: result of loading it with its key.
fn of_identity(subject: &str, identity: &Identity, loaded: Result<(), TlsError>) -> Finding {
    if let Err(error) = loaded {
        let remedy = "correct the files: PEM, the certificate first, with its own key";
        return Finding::fault(Check::Tls, subject, error.to_string(), remedy);
    }
    match certificates(&identity.certificate) {
        Ok(chain) => judge_chain(&chain, &identity.certificate).on(Check::Tls, subject),
        Err(error) => Finding::fault(Check::Tls, subject, error.to_string(), "correct the file"),
    }
}

fn judge_chain(chain: &[CertificateDer<'static>], file: &Path) -> Judgement {
    let file = file.display();
    if !is_linked(chain) {
        return Judgement::Warning(
            format!("{file}: the certificates do not form a chain, so peers may refuse it"),
            "put the own certificate first, and the certificate of its issuer behind it, and so on"
                .to_owned(),
        );
    }
    let Some(validity) = Validity::of_all(chain) else {
        return Judgement::Fault(
            format!("{file}: a certificate cannot be parsed"),
            "replace the file".to_owned(),
        );
    };
    let remedy = format!("renew {file}; a running server loads it by itself");
    judge_validity(validity, Timestamp::now(), &remedy)
}

/// Examines CA certificates: expired ones verify no certificate.
fn of_authorities(subject: &str, file: &Path) -> Finding {
    let shown = file.display();
    let all = match certificates(file) {
        Ok(all) => all,
        Err(error) => {
            let remedy = "correct the file: PEM with CA certificates";
            return Finding::fault(Check::Tls, subject, error.to_string(), remedy);
        }
    };
    let now = Timestamp::now().seconds();
    let is_expired = |certificate: &&CertificateDer<'_>| {
        Validity::of(certificate).is_none_or(|validity| validity.until < now)
    };
    let expired = all.iter().filter(is_expired).count();
    let remedy = format!("renew {shown}");
    match expired {
        0 => Finding::ok(Check::Tls, subject, format!("{shown}: {} CAs", all.len())),
        expired if expired == all.len() => {
            let reason = format!("{shown}: every CA certificate has expired");
            Finding::fault(Check::Tls, subject, reason, remedy)
        }
        expired => {
            let reason = format!(
                "{shown}: {expired} of {} CA certificates have expired",
                all.len()
            );
            Finding::warning(Check::Tls, subject, reason, remedy)
        }
    }
}

/// Warns if the certificate for HTTPS is not for the host of the public URL, and no proxy stands between.
fn of_public_url(config: &Config, identity: &Identity) -> Option<Finding> {
    let url = Url::parse(config.http.public_url.as_ref()?).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let chain = certificates(&identity.certificate).ok()?;
    let is_named = crate::calls::sip::is_named(chain.first()?, host);
    (!is_named).then(|| {
        Finding::warning(
            Check::Tls,
            "http.tls_certificate: name",
            format!("the certificate is not for {host}, the host of http.public_url"),
            "use a certificate for that name, unless a proxy with its own one stands in front",
        )
    })
}

/// Judges the validity of a certificate.
pub(super) fn judge_validity(validity: Validity, now: Timestamp, remedy: &str) -> Judgement {
    let left = validity.until.saturating_sub(now.seconds());
    let until = date(validity.until);
    if validity.from > now.seconds() {
        let reason = format!("valid only from {} on", date(validity.from));
        let remedy = format!("check the clock of this machine, or {remedy}");
        return Judgement::Fault(reason, remedy);
    }
    if left < 0 {
        return Judgement::Fault(format!("expired on {until}"), remedy.to_owned());
    }
    let days = left.div_euclid(DAY_SECONDS);
    let reason = format!("valid until {until}, {days} days");
    match days < MIN_DAYS_LEFT {
        true => Judgement::Warning(reason, remedy.to_owned()),
        false => Judgement::Ok(reason),
    }
}

fn date(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    TimeZone::UTC.to_datetime(moment).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_warning_in_its_last_month_and_then_a_fault() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let judged = |from: i64, days: i64| {
            let at = |days: i64| now.seconds() + days * DAY_SECONDS;
            let validity = Validity {
                from: at(from),
                until: at(days) + 1,
            };
            judge_validity(validity, now, "renew it")
        };
        assert_eq!(
            judged(-1, 30),
            Judgement::Ok("valid until 2027-02-14, 30 days".to_owned())
        );
        assert!(matches!(judged(-1, 29), Judgement::Warning(..)));
        assert!(matches!(judged(-1, 0), Judgement::Warning(..)));
        let expired = judged(-10, -1);
        assert_eq!(
            expired,
            Judgement::Fault("expired on 2027-01-14".to_owned(), "renew it".to_owned())
        );
        assert!(matches!(judged(1, 90), Judgement::Fault(..)));
    }
}
