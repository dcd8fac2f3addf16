//! `GET /v1/admin/trunks`

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rlibphonenumber::Region;
use serde::Serialize;
use utoipa::ToSchema;

use crate::calls::{TrunkHealth, TrunkSettings};
use crate::config::trunk::{networks, peer_uri, uri};
use crate::config::values;
use crate::destinations::NumberPrefix;
use crate::http::openapi::schemas::{
    CalledFromWord, CallerFromWord, CodecWord, IdentityHeaderWord, MediaWord, NumberFormatWord,
    SrtpWord, TrunkStateWord,
};
use crate::http::{Api, Success, success};

/// List trunks
///
/// Lists the configured trunks with their current state.
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
    let live = api.node.live.borrow().clone();
    let trunks: Vec<TrunkDetails> = live
        .trunks
        .iter()
        .zip(states)
        .map(|(trunk, state)| TrunkDetails::new(trunk, state))
        .collect();
    success(StatusCode::OK, trunks)
}

/// A configured carrier without its password, with its current state.
#[derive(Serialize, ToSchema)]
#[schema(as = Trunk)]
pub(crate) struct TrunkDetails {
    /// Name of the trunk.
    name: String,
    /// SIP address for outgoing calls.
    #[schema(required)]
    peer: Option<String>,
    /// Address of the outbound proxy, if requests are sent there instead of to the peer.
    #[schema(required)]
    outbound_proxy: Option<String>,
    /// Networks allowed to send calls.
    accept_from: Vec<String>,
    /// Name in the TLS client certificate that identifies the peer, if it is not identified by its address.
    #[schema(required)]
    tls_peer_name: Option<String>,
    /// Address at which this carrier reaches the server; `null`: `sip.public_address`.
    #[schema(value_type = Option<String>, required)]
    public_address: Option<IpAddr>,
    /// Address at which this carrier reaches the media ports; `null`: `public_address`, else `media.public_address`.
    #[schema(value_type = Option<String>, required)]
    media_public_address: Option<IpAddr>,
    /// Media ports of this carrier's legs, such as `30000-30999`; `null`: `media.ports`.
    #[schema(required)]
    media_ports: Option<String>,
    /// Networks that audio comes from and goes to. Empty for all except the server's own addresses.
    media_from: Vec<String>,
    /// User name for calls from other addresses.
    #[schema(required)]
    accept_username: Option<String>,
    /// Seconds between OPTIONS requests; 0 disables them.
    #[schema(minimum = 0, maximum = 3600)]
    keep_alive: u64,
    /// Seconds for the first response to an INVITE before the next trunk is tried.
    #[schema(minimum = 1, maximum = 32)]
    response_timeout: u64,
    /// SIP statuses after which the next trunk is tried.
    failover_on: Vec<u16>,
    /// `true` if the server registers with the carrier.
    register: bool,
    /// Country for numbers without `+`.
    #[schema(required)]
    country: Option<String>,
    /// `true` if the tenant sees the numbers of callers that ask to be hidden.
    show_withheld: bool,
    /// `true` if audio is sent to the source address of the received audio.
    symmetric_rtp: bool,
    /// `true` if requests within a call go to the source of the peer's messages.
    nat: bool,
    /// `direct` if the gateway may exchange audio directly with another gateway; otherwise `relay`.
    #[schema(value_type = MediaWord)]
    media: &'static str,
    /// `true` if the caller hears the audio that the carrier sends before a dialled party answers.
    early_media: bool,
    /// Encryption of the audio.
    #[schema(value_type = SrtpWord)]
    srtp: &'static str,
    /// User name for the carrier's challenges.
    #[schema(required)]
    username: Option<String>,
    /// Priority. Trunks with a lower number are tried first.
    #[schema(minimum = 0, maximum = 65535)]
    priority: u16,
    /// Share of calls among trunks with the same priority.
    #[schema(minimum = 1, maximum = 100)]
    weight: u16,
    /// Form of the numbers sent to the carrier.
    #[schema(value_type = NumberFormatWord)]
    number_format: &'static str,
    /// Digits added before each number dialled through the trunk.
    #[schema(max_length = 16)]
    prefix: String,
    /// Prefixes of the numbers that the trunk takes; empty: all numbers.
    allow_destinations: Vec<NumberPrefix>,
    /// Prefixes of the numbers that the trunk does not take.
    deny_destinations: Vec<NumberPrefix>,
    /// Prefixes of the virtual numbers that are shown over the trunk; empty: all.
    virtual_numbers: Vec<NumberPrefix>,
    /// Tenants whose calls go over the trunk; empty: all.
    tenants: Vec<String>,
    /// User part of `From`; `null`: the virtual number.
    #[schema(required)]
    from_user: Option<String>,
    /// Host of the shown identity; `null`: the address of this server.
    #[schema(required)]
    from_domain: Option<String>,
    /// Header with the virtual number, besides `From`.
    #[schema(value_type = IdentityHeaderWord)]
    identity_header: &'static str,
    /// `true` if `user=phone` is added to the URIs with a number.
    user_phone: bool,
    /// Codecs in order of preference; empty: all codecs.
    #[schema(value_type = Vec<CodecWord>)]
    codecs: Vec<&'static str>,
    /// Header with the caller's number.
    #[schema(value_type = CallerFromWord)]
    caller_from: &'static str,
    /// Location of the called number.
    #[schema(value_type = CalledFromWord)]
    called_from: &'static str,
    /// Maximum number of legs in both directions; `null`: no limit.
    #[schema(required, minimum = 1, value_type = Option<u64>)]
    max_calls: Option<usize>,
    /// Maximum number of new legs per second in both directions; `null`: no limit.
    #[schema(required, minimum = 1)]
    max_calls_per_second: Option<u32>,
    /// Reachability of the carrier. A trunk without OPTIONS is always `up`. `null`: unknown.
    #[schema(required, value_type = Option<TrunkStateWord>)]
    state: Option<&'static str>,
    /// `true` if the carrier has accepted the registration; `null`: no registration configured, or unknown.
    #[schema(required)]
    registered: Option<bool>,
}

impl TrunkDetails {
    /// Describes a trunk with the values of the configuration file. A `state` of `None` is unknown.
    pub(crate) fn new(trunk: &TrunkSettings, state: Option<TrunkHealth>) -> Self {
        Self {
            name: trunk.name.clone(),
            peer: peer_uri(trunk),
            outbound_proxy: trunk.sip.outbound_proxy.as_ref().map(uri),
            accept_from: networks(&trunk.sip.accept_from),
            tls_peer_name: trunk.sip.tls_peer_name.clone(),
            public_address: trunk.sip.advertised,
            media_public_address: trunk.media_address,
            media_ports: trunk
                .media_ports
                .as_ref()
                .map(|ports| format!("{}-{}", ports.start(), ports.end())),
            media_from: networks(&trunk.sip.media_from),
            accept_username: trunk
                .sip
                .accept_credentials
                .as_ref()
                .map(|known| known.username.clone()),
            keep_alive: trunk.sip.keep_alive.unwrap_or_default().as_secs(),
            response_timeout: trunk.sip.response_timeout.unwrap_or_default().as_secs(),
            failover_on: trunk.failover_on.clone(),
            register: trunk.sip.register,
            country: trunk.country.as_ref().map(Region::to_string),
            show_withheld: trunk.show_withheld,
            symmetric_rtp: trunk.symmetric_rtp,
            nat: trunk.sip.nat,
            media: values::media_name(trunk.direct_media),
            early_media: trunk.early_media,
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
            allow_destinations: trunk.destinations.allow.clone(),
            deny_destinations: trunk.destinations.deny.clone(),
            virtual_numbers: trunk.virtual_numbers.clone(),
            tenants: trunk.tenants.iter().map(ToString::to_string).collect(),
            from_user: trunk.sip.shown_as.from_user.clone(),
            from_domain: trunk.sip.shown_as.domain.clone(),
            identity_header: values::identity_header_name(trunk.sip.shown_as.header),
            user_phone: trunk.sip.shown_as.user_phone,
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
