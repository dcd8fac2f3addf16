//! Requests of a connection: the service that passes them to the router, and bodies that record the activity.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::activity::{Activity, OpenRequest};
use crate::http::middleware::client_address::ClientAddress;

/// Service of one connection.
#[derive(Clone)]
pub(super) struct ConnectionService {
    router: TowerToHyperService<Router>,
    peer: IpAddr,
    activity: Arc<Activity>,
}

impl ConnectionService {
    pub(super) fn new(router: Router, peer: IpAddr, activity: Arc<Activity>) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            peer,
            activity,
        }
    }
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut open = OpenRequest::begin(self.activity.clone());
        let mut request = request.map(|body| RequestBody {
            inner: body,
            activity: self.activity.clone(),
            has_ended: false,
        });
        request.extensions_mut().insert(ClientAddress(self.peer));
        let response = self.router.call(request);
        Box::pin(async move {
            let response = response.await?;
            open.set_working(false);
            Ok(response.map(|body| ResponseBody { inner: body, open }))
        })
    }
}

/// Body of a request. It records whether the server has read all of it.
struct RequestBody {
    inner: Incoming,
    activity: Arc<Activity>,
    has_ended: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        self.has_ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.has_ended && !self.inner.is_end_stream() {
            self.activity.on_unread_body();
        }
    }
}

/// Body of a response. The request ends with it.
pub(super) struct ResponseBody {
    inner: Body,
    open: OpenRequest,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        self.open.set_working(frame.is_pending());
        self.open.on_progress();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
