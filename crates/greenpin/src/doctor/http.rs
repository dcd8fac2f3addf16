//! The HTTP API: token, public address, and its answers while the server runs.

use std::time::Duration;

use url::Url;

use super::Context;
use super::deadline::CHECK_TIMEOUT;
use super::finding::{Check, Finding};
use super::running_server::RunningServer;
use super::webhooks::origin;
use crate::crypto::tls_roots;
use crate::server::local_client::LocalServer;

/// Examines the HTTP API.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let mut findings = vec![operator_token(context), public_url(context)];
    match &context.server {
        Some(RunningServer { api: Some(api), .. }) => {
            let (answers, public) = tokio::join!(answers(api), public_answer(context));
            findings.extend(answers);
            findings.extend(public);
        }
        Some(server) if context.config.http.listen.port() != 0 => findings.push(Finding::fault(
            Check::Http,
            "api",
            format!(
                "{} has the database in use, but does not answer at {}",
                server.name(),
                context.config.http.listen
            ),
            "if http.listen has changed, restart the server; else look into its log",
        )),
        _ => {}
    }
    findings
}

fn operator_token(context: &Context) -> Finding {
    let subject = "operator token";
    match context.config.http.operator_token {
        Some(_) => Finding::ok(Check::Http, subject, "set"),
        None => Finding::warning(
            Check::Http,
            subject,
            "http.operator_token is not set: the operator API and the operator's pages of the console are off",
            "set http.operator_token, or GREENPIN_HTTP__OPERATOR_TOKEN, to at least 16 random characters",
        ),
    }
}

fn public_url(context: &Context) -> Finding {
    let subject = "public URL";
    let http = &context.config.http;
    match &http.public_url {
        Some(url) => Finding::ok(Check::Http, subject, url),
        None if http.listen.ip().is_unspecified() => Finding::warning(
            Check::Http,
            subject,
            format!(
                "http.public_url is not set, and http.listen names no address: links in events use sip.public_address, {}",
                context.config.sip.public_address
            ),
            "set http.public_url to the URL at which your application reaches the API",
        ),
        None => {
            let reason = format!("links in events use http.listen, {}", http.listen);
            Finding::ok(Check::Http, subject, reason)
        }
    }
}

async fn answers(api: &LocalServer) -> Vec<Finding> {
    let (ready, console) = tokio::join!(api.get("/readyz"), api.get("/console"));
    let base = api.base();
    let ready = match ready {
        Ok(answer) if answer.status().is_success() => {
            Finding::ok(Check::Http, "readiness", format!("{base} is ready"))
        }
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap_or_default();
            Finding::warning(
                Check::Http,
                "readiness",
                format!("{base}/readyz answers {status}: {}", not_ready(&body)),
                "end the drain, or look into the log of the server",
            )
        }
        Err(error) => Finding::fault(
            Check::Http,
            "readiness",
            format!("{base}/readyz does not answer: {}", cause(&error)),
            "look into the log of the server, and restart it",
        ),
    };
    let console = match console {
        Ok(answer) if answer.status().is_success() => {
            Finding::ok(Check::Http, "console", format!("{base}/console"))
        }
        answer => Finding::warning(
            Check::Http,
            "console",
            match answer {
                Ok(answer) => format!("{base}/console answers {}", answer.status().as_u16()),
                Err(error) => format!("{base}/console does not answer: {}", cause(&error)),
            },
            "look into the log of the server",
        ),
    };
    vec![ready, console]
}

/// Returns the conditions that a response of `/readyz` does not fulfil.
fn not_ready(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let conditions = [
        ("draining", true, "it is draining"),
        ("store", false, "the store does not answer"),
        ("sip", false, "SIP is not served"),
        ("tasks", false, "a task has ended"),
    ];
    let found: Vec<&str> = conditions
        .iter()
        .filter(|(name, bad, _)| body.get(name).is_some_and(|value| *value == *bad))
        .map(|(_, _, text)| *text)
        .collect();
    found.join(", ")
}

/// Requests `/healthz` at the public URL: any HTTP response proves the way through a proxy.
async fn public_answer(context: &Context) -> Option<Finding> {
    let url = context.config.http.public_url.as_ref()?;
    let subject = "public URL answers";
    let shown = origin(&Url::parse(url).ok()?);
    let remedy = "check the proxy, its certificate, the DNS and the firewall; some networks cannot reach their own public address";
    let unreachable = |why: String| {
        let reason = format!("{shown} does not answer from this machine: {why}");
        Some(Finding::warning(Check::Http, subject, reason, remedy))
    };
    let client = match public_client() {
        Ok(client) => client,
        Err(why) => return unreachable(why),
    };
    match client.get(format!("{url}/healthz")).send().await {
        Ok(answer) => {
            let reason = format!("{shown} answers {}", answer.status().as_u16());
            Some(Finding::ok(Check::Http, subject, reason))
        }
        Err(error) => unreachable(cause(&error)),
    }
}

fn public_client() -> Result<reqwest::Client, String> {
    let tls = tls_roots::client(None).map_err(|error| error.to_string())?;
    let builder = reqwest::Client::builder()
        .timeout(CHECK_TIMEOUT)
        .connect_timeout(Duration::from_secs(3))
        .tls_backend_preconfigured(tls.with_no_client_auth());
    builder.build().map_err(|error| error.to_string())
}

/// Returns the innermost cause of an error, which names no URL.
fn cause(error: &reqwest::Error) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    match causes.last() {
        Some(cause) => cause.to_string(),
        None => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_for_readiness_that_do_not_hold_are_named() {
        let body =
            r#"{"status":"not ready","store":false,"sip":true,"draining":true,"tasks":true}"#;
        assert_eq!(not_ready(body), "it is draining, the store does not answer");
        assert_eq!(not_ready("no JSON"), "");
    }
}
