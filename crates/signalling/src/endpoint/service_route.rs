//! Route that a registrar names for the calls of a registered user (RFC 3608).

use crate::address_list;
use crate::sip::{HeaderName, Response, Uri};

/// Maximum number of route entries. Further ones are ignored.
const MAX_SERVICE_ROUTES: usize = 8;
/// Maximum size of a route entry, in bytes. A larger one is ignored.
const MAX_SERVICE_ROUTE_BYTES: usize = 255;

/// Returns the URIs of the `Service-Route` headers in order. Entries of strict routers (without `lr`) are ignored.
///
/// They are written into `Route`; requests still go to the target of the trunk.
pub(super) fn service_route(response: &Response) -> Vec<String> {
    let name = HeaderName::ServiceRoute;
    let addresses = response
        .headers
        .get_all(&name)
        .flat_map(|header| address_list::read(&header.value()))
        .flatten();
    addresses
        .filter_map(|address| route(&address.uri))
        .take(MAX_SERVICE_ROUTES)
        .collect()
}

fn route(uri: &Uri) -> Option<String> {
    let is_loose = uri
        .params()
        .is_some_and(|params| params.get("lr").is_some());
    let text = String::from_utf8(uri.to_bytes().to_vec()).ok()?;
    let is_writable =
        text.len() <= MAX_SERVICE_ROUTE_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    (uri.scheme().is_sip() && is_loose && is_writable).then_some(text)
}
