//! Findings of the checks, and the report of all.

use call::words;
use serde::Serialize;

words! {
    /// Subject area of a finding, in the order of the report.
    pub enum Check {
        /// The configuration file, the environment and the files that they name.
        Configuration = "configuration",
        /// The HTTP API.
        Http = "http",
        /// Addresses and ports that the server binds.
        Ports = "ports",
        /// The address at which peers reach the server.
        PublicAddress = "public_address",
        /// Names of trunks.
        Dns = "dns",
        /// Carriers.
        Trunks = "trunks",
        /// Certificates, own ones and those of peers.
        Tls = "tls",
        /// The database.
        Store = "store",
        /// Free space.
        Disk = "disk",
        /// The master key.
        KeyFile = "key_file",
        /// The folder or bucket of the recordings.
        Recordings = "recordings",
        /// Receivers of webhooks.
        Webhooks = "webhooks",
        /// The clock of this machine and of the database.
        Clock = "clock",
        /// Limits of the operating system.
        Limits = "limits",
    }
}

words! {
    /// Result of a check.
    pub enum Outcome {
        /// Nothing to do.
        Ok = "ok",
        /// It works, or was not checked, and deserves a look.
        Warning = "warning",
        /// The server does not start, or a part of it does not work.
        Fault = "fault",
    }
}

/// Result of one check on one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Subject area.
    #[serde(serialize_with = "check_word")]
    pub(crate) check: Check,
    /// Object of the check, such as the name of a trunk. It contains no secret and no telephone number.
    pub(crate) subject: String,
    /// Result.
    #[serde(rename = "result", serialize_with = "outcome_word")]
    pub(crate) outcome: Outcome,
    /// Facts behind the result.
    pub(crate) reason: String,
    /// Remedy; `None` for `ok`.
    pub(crate) remedy: Option<String>,
}

/// Findings of all checks.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Findings, in the order of [`Check`].
    pub(crate) checks: Vec<Finding>,
    /// Number of findings with the result `ok`.
    pub(crate) ok: usize,
    /// Number of warnings.
    pub(crate) warnings: usize,
    /// Number of faults.
    pub(crate) faults: usize,
}

impl Finding {
    /// Creates a finding without anything to do.
    pub(super) fn ok(check: Check, subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(check, subject.into(), Judgement::Ok(reason.into()))
    }

    /// Creates a warning.
    pub(super) fn warning(
        check: Check,
        subject: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let judgement = Judgement::Warning(reason.into(), remedy.into());
        Self::new(check, subject.into(), judgement)
    }

    /// Creates a fault.
    pub(super) fn fault(
        check: Check,
        subject: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let judgement = Judgement::Fault(reason.into(), remedy.into());
        Self::new(check, subject.into(), judgement)
    }

    /// Creates the warning for something that was not checked. `why` ends the sentence "not checked: …".
    pub(super) fn not_checked(
        check: Check,
        subject: impl Into<String>,
        why: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self::warning(check, subject, format!("not checked: {why}"), remedy)
    }

    pub(super) fn new(check: Check, subject: String, judgement: Judgement) -> Self {
        let (outcome, reason, remedy) = match judgement {
            Judgement::Ok(reason) => (Outcome::Ok, reason, None),
            Judgement::Warning(reason, remedy) => (Outcome::Warning, reason, Some(remedy)),
            Judgement::Fault(reason, remedy) => (Outcome::Fault, reason, Some(remedy)),
        };
        Self {
            check,
            subject,
            outcome,
            reason,
            remedy,
        }
    }
}

/// Judgement on facts, without its subject: the reason and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Ok(String),
    Warning(String, String),
    Fault(String, String),
}

impl Judgement {
    /// Makes the finding of this judgement.
    pub(super) fn on(self, check: Check, subject: impl Into<String>) -> Finding {
        Finding::new(check, subject.into(), self)
    }
}

impl Report {
    pub(super) fn new(mut checks: Vec<Finding>) -> Self {
        let order = |finding: &Finding| Check::ALL.iter().position(|area| *area == finding.check);
        checks.sort_by_key(order);
        let count = |outcome| {
            let with_outcome = checks.iter().filter(|finding| finding.outcome == outcome);
            with_outcome.count()
        };
        Self {
            ok: count(Outcome::Ok),
            warnings: count(Outcome::Warning),
            faults: count(Outcome::Fault),
            checks,
        }
    }
}

fn check_word<S: serde::Serializer>(check: &Check, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(check.as_str())
}

fn outcome_word<S: serde::Serializer>(outcome: &Outcome, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(outcome.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_in_the_order_of_the_checks_and_counts_results() {
        let report = Report::new(vec![
            Finding::ok(Check::Limits, "open files", "enough"),
            Finding::fault(Check::Ports, "udp:127.0.0.1:5060", "in use", "stop it"),
            Finding::ok(Check::Limits, "ports", "enough"),
            Finding::not_checked(Check::Store, "database", "no answer", "start it"),
        ]);
        let subjects: Vec<&str> = report
            .checks
            .iter()
            .map(|finding| finding.subject.as_str())
            .collect();
        assert_eq!(
            subjects,
            ["udp:127.0.0.1:5060", "database", "open files", "ports"]
        );
        assert_eq!((report.ok, report.warnings, report.faults), (2, 1, 1));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["checks"][1],
            serde_json::json!({
                "check": "store", "subject": "database", "result": "warning",
                "reason": "not checked: no answer", "remedy": "start it",
            })
        );
    }
}
