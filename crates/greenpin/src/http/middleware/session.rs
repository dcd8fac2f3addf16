//! Sessions of the web console: the cookie that takes the place of credentials, and the checks against forged requests.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};

use super::problem::{Code, Problem};
use crate::http::Api;
use crate::store::{Session, SessionOwner, Store, Timestamp};

/// Name of the cookie with the token of a session.
pub(crate) const COOKIE: &str = "greenpin_session";
/// Header that the console sends with every request but a GET. A page of another site cannot send it without CORS,
/// which the server does not allow.
pub(crate) static CONSOLE_HEADER: HeaderName = HeaderName::from_static("x-greenpin-console");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Mark of a request that a session authorizes. Its response is masked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionAuthorized;

/// Returns the token of the session in the cookie.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}

/// Returns the problem of a request whose session has ended. It has no challenge, because a browser would answer it with
/// a dialog of its own.
pub(crate) fn ended(code: Code) -> Problem {
    Problem::new(code, "Sign in: there is no session, or it has ended.").without_challenge()
}

/// Returns whether a script of a page sent the request, such as the console after its cookie has expired.
pub(crate) fn is_from_script(headers: &HeaderMap) -> bool {
    headers
        .get(&SEC_FETCH_DEST)
        .is_some_and(|destination| destination == "empty")
}

/// Rejects a request that another site may have caused: `SameSite` alone leaves sibling hosts.
pub(crate) fn require_own_site(parts: &Parts, code: Code) -> Result<(), Problem> {
    let site = parts.headers.get(&SEC_FETCH_SITE);
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let is_own = site.is_none_or(|site| site == "same-origin" || (is_read && site == "none"));
    if is_own && (is_read || parts.headers.contains_key(&CONSOLE_HEADER)) {
        return Ok(());
    }
    let detail = "A request with the console's cookie must come from the console: X-Greenpin-Console is missing, or the site is another.";
    Err(Problem::new(code, detail).without_challenge())
}

/// Returns the session of a request without other credentials; `None` if it has no cookie. `code` is the code of the
/// problem if the session has ended.
pub(crate) async fn find(parts: &Parts, api: &Api, code: Code) -> Result<Option<Session>, Problem> {
    let Some(token) = token(&parts.headers) else {
        return Ok(None);
    };
    require_own_site(parts, code)?;
    let now = api.now();
    let found = api
        .store
        .session(token, operator_token(api), now)
        .await?
        .filter(|session| session.owner != SessionOwner::Operator || has_operator(api))
        .ok_or_else(|| ended(code))?;
    if found.is_use_due {
        tokio::spawn(record_use(api.store.clone(), token.to_owned(), now));
    }
    Ok(Some(found))
}

/// Returns the token of the operator; empty if the operator API is disabled.
pub(crate) fn operator_token(api: &Api) -> &str {
    api.node
        .operator_token
        .as_ref()
        .map_or("", |token| token.expose())
}

fn has_operator(api: &Api) -> bool {
    api.node.operator_token.is_some()
}

/// Records the use of a session. It runs in the background, and its failure does not affect the request.
async fn record_use(store: Store, token: String, now: Timestamp) {
    if let Err(error) = store.session_used(&token, now).await {
        tracing::warn!(%error, "cannot record the last use of a session");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri("/");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_token_is_read_from_the_cookie_of_the_console() {
        let found =
            |cookie| token(&parts(Method::GET, &[("cookie", cookie)]).headers).map(str::to_owned);
        assert_eq!(found("a=b; greenpin_session=xyz"), Some("xyz".to_owned()));
        assert_eq!(found("other_greenpin_session=xyz"), None);
        assert_eq!(found("greenpin_session"), None);
    }

    #[test]
    fn a_write_needs_the_header_of_the_console_and_its_own_site() {
        let passes = |method, headers: &[(&str, &str)]| {
            require_own_site(&parts(method, headers), Code::Unauthorized).is_ok()
        };
        let own = ("x-greenpin-console", "1");
        assert!(passes(Method::POST, &[own]));
        assert!(passes(
            Method::POST,
            &[own, ("sec-fetch-site", "same-origin")]
        ));
        assert!(!passes(Method::POST, &[]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(
                !passes(Method::POST, &[own, ("sec-fetch-site", site)]),
                "{site}"
            );
        }
        assert!(passes(Method::GET, &[]) && passes(Method::GET, &[("sec-fetch-site", "none")]));
        for site in ["cross-site", "same-site"] {
            assert!(!passes(Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
    }
}
