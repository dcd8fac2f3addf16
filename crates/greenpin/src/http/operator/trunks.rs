//! `GET /v1/admin/trunks`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rlibphonenumber::Region;
use serde::Serialize;
use utoipa::ToSchema;

use crate::calls::{TrunkHealth, TrunkSettings};
use crate::config::trunk::{networks, peer_uri, uri};
use crate::config::values;
use crate::http::openapi::schemas::{
    CalledFromWord, CallerFromWord, CodecWord, MediaWord, NumberFormatWord, SrtpWord,
    TrunkStateWord,
};
use crate::http::{Api, Success, success};

/// List trunks
///
/// As they are configured, with their state.
#[utoipa::path(
    get,
    path = "/trunks",
    operation_id = "list_trunks",
    tag = "Node",
    responses(
        (status = 200, description = "The trunks.", body = Success<Vec<TrunkDetails>>),
    )
)]
pub(crate) async fn list(State(api): State<Api>) -> Response {
    let states = api.node.engine.trunks().await;
    let states = states.into_iter().map(Some).chain(std::iter::repeat(None));
    let trunks: Vec<TrunkDetails> = api
        .node
        .trunks
        .iter()
        .zip(states)
        .map(|(trunk, state)| TrunkDetails::new(trunk, state))
        .collect();
    success(StatusCode::OK, trunks)
}

/// A carrier as it is configured, without its password, and its state.
#[derive(Serialize, ToSchema)]
#[schema(as = Trunk)]
pub(crate) struct TrunkDetails {
    /// Its name.
    name: String,
    /// Address that calls go out to.
    #[schema(required)]
    peer: Option<String>,
    /// Address that requests are sent to instead.
    #[schema(required)]
    outbound_proxy: Option<String>,
    /// Networks that calls are accepted from.
    accept_from: Vec<String>,
    /// User name with which calls are accepted from other addresses.
    #[schema(required)]
    accept_username: Option<String>,
    /// Seconds between two OPTIONS requests; 0: none are sent.
    #[schema(minimum = 0, maximum = 3600)]
    keep_alive: u64,
    /// Whether the server registers with it.
    register: bool,
    /// Country of numbers without `+`.
    #[schema(required)]
    country: Option<String>,
    /// Whether audio is sent to the address that it comes from.
    symmetric_rtp: bool,
    /// Whether its gateway may exchange audio with another one directly.
    #[schema(value_type = MediaWord)]
    media: &'static str,
    /// Whether audio is encrypted.
    #[schema(value_type = SrtpWord)]
    srtp: &'static str,
    /// User name that the server answers its challenges with.
    #[schema(required)]
    username: Option<String>,
    /// Trunks with a lower number are tried first.
    #[schema(minimum = 0, maximum = 65535)]
    priority: u16,
    /// Share of calls among trunks of the same priority.
    #[schema(minimum = 1, maximum = 100)]
    weight: u16,
    /// Form of the numbers that are sent to it.
    #[schema(value_type = NumberFormatWord)]
    number_format: &'static str,
    /// Digits before a number that is dialled through it.
    #[schema(max_length = 16)]
    prefix: String,
    /// Codecs that are offered and accepted, the preferred one first; none: all.
    #[schema(value_type = Vec<CodecWord>)]
    codecs: Vec<&'static str>,
    /// Header that carries the number of the caller.
    #[schema(value_type = CallerFromWord)]
    caller_from: &'static str,
    /// Part of the request that carries the number that was called.
    #[schema(value_type = CalledFromWord)]
    called_from: &'static str,
    /// Maximum number of its legs, both ways; `null`: no limit of its own.
    #[schema(required, minimum = 1, value_type = Option<u64>)]
    max_calls: Option<usize>,
    /// Maximum rate of new legs a second, both ways; `null`: no limit of its own.
    #[schema(required, minimum = 1)]
    max_calls_per_second: Option<u32>,
    /// Whether it answers; a trunk that gets no OPTIONS is up. `null`: not known.
    #[schema(required, value_type = Option<TrunkStateWord>)]
    state: Option<&'static str>,
    /// Whether it has accepted our registration; `null`: we do not register, or it is not known.
    #[schema(required)]
    registered: Option<bool>,
}

impl TrunkDetails {
    /// Describes a trunk in the words of the configuration file. `state`: `None` if it is not known.
    pub(crate) fn new(trunk: &TrunkSettings, state: Option<TrunkHealth>) -> Self {
        Self {
            name: trunk.name.clone(),
            peer: peer_uri(trunk),
            outbound_proxy: trunk.sip.outbound_proxy.as_ref().map(uri),
            accept_from: networks(trunk),
            accept_username: trunk
                .sip
                .accept_credentials
                .as_ref()
                .map(|known| known.username.clone()),
            keep_alive: trunk.sip.keep_alive.unwrap_or_default().as_secs(),
            register: trunk.sip.register,
            country: trunk.country.as_ref().map(Region::to_string),
            symmetric_rtp: trunk.symmetric_rtp,
            media: values::media_name(trunk.direct_media),
            srtp: values::srtp_name(trunk.srtp),
            username: trunk
                .sip
                .credentials
                .as_ref()
                .map(|known| known.username.clone()),
            priority: trunk.priority,
            weight: trunk.weight,
            number_format: values::number_format_name(trunk.number_format),
            prefix: trunk.prefix.clone(),
            codecs: values::codec_names(&trunk.sip.codecs),
            caller_from: values::caller_from_name(trunk.sip.caller_from),
            called_from: values::called_from_name(trunk.sip.called_from),
            max_calls: trunk.max_calls,
            max_calls_per_second: trunk.max_calls_per_second,
            state: state.map(|state| if state.up { "up" } else { "away" }),
            registered: state.and_then(|state| state.registered),
        }
    }
}
