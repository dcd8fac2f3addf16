//! Types of the SIP library. No other module names the library.

pub(crate) use sipx_sip::auth::{Algorithm, Challenge, Credentials, respond, strongest};
pub(crate) use sipx_sip::headers::From as FromHeader;
pub(crate) use sipx_sip::headers::via::first_hop_end;
pub(crate) use sipx_sip::headers::{Address, Contact, MaxForwards, RecordRoute, To};
pub(crate) use sipx_sip::message::Message;
pub(crate) use sipx_sip::session::{MinSe, Refresher, SessionExpires};
pub(crate) use sipx_sip::transaction::Dispatch;
pub(crate) use sipx_sip::validate::validate_request;
pub(crate) use sipx_sip::{
    CSeq, CallId, Header, HeaderName, Headers, Host as UriHost, Limits, Method, Output,
    Reliability, Request, RequestBuilder, Response, ResponseBuilder, StatusCode, StreamParser,
    Timer, Timers, TransactionKey, TransactionLayer, TuEvent, Uri, Via, parse_datagram,
};
