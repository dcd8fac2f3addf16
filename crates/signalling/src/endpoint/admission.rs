//! Authentication of callers outside the networks of all trunks, by digest (RFC 3261, section 22;
//! RFC 7616).
//!
//! Challenges are stateless: an unauthenticated request leaves nothing behind.

use std::net::IpAddr;
use std::time::Instant;

use aws_lc_rs::constant_time;

use super::receive::StatelessRefusal;
use super::{Endpoint, Purpose};
use crate::dialog::DialogId;
use crate::parameters::parse_parameters;
use crate::sip::{self, Algorithm, Challenge, HeaderName, Method, Request, TransactionKey, Uri};
use crate::trunk::{Digest, Trunk};

/// Digest response of a caller, from an `Authorization` header.
struct DigestAuthorization {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    nonce_count: u32,
    cnonce: String,
}

impl DigestAuthorization {
    /// Returns the first `Authorization` header for the endpoint's realm. Headers without
    /// `qop=auth` are ignored because they allow replays.
    fn from_request(request: &Request, realm: &str) -> Option<Self> {
        let name = HeaderName::Authorization;
        let authorizations = request
            .headers
            .get_all(&name)
            .filter_map(|header| Self::parse(&header.value()));
        authorizations
            .into_iter()
            .find(|authorization| authorization.realm == realm)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let parameters = parse_parameters(value, "Digest")?;
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(parameter, _)| parameter.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        get("qop").filter(|qop| qop.eq_ignore_ascii_case("auth"))?;
        let nonce_count = get("nc").filter(|count| count.len() == 8)?;
        Some(Self {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm: get("algorithm")
                .map_or(Some(Algorithm::Md5), |name| Algorithm::parse(&name))?,
            nonce_count: u32::from_str_radix(&nonce_count, 16).ok()?,
            cnonce: get("cnonce")?,
        })
    }

    /// Returns `true` if the username belongs to the trunk and the trunk accepts the algorithm.
    fn names_user_of(&self, trunk: &Trunk) -> bool {
        let same_user = trunk
            .accept_credentials
            .as_ref()
            .is_some_and(|credentials| credentials.username == self.username);
        let accepted =
            |digest: &Digest| trunk.accepts(*digest) && digest.algorithm() == self.algorithm;
        same_user && Digest::ALL.iter().any(accepted)
    }

    /// Returns `true` if the response was computed with this password for this request.
    fn is_valid(&self, request: &Request, password: &str) -> bool {
        let challenge = Challenge {
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            opaque: None,
            algorithm: self.algorithm,
            qop_auth: true,
            stale: false,
            from_proxy: false,
        };
        let user = sip::Credentials::new(self.username.clone(), password);
        let method = request.method.to_string();
        let expected = sip::respond(
            &challenge,
            &user,
            &method,
            &self.uri,
            self.nonce_count,
            &self.cnonce,
        );
        let expected = parse_parameters(expected.as_bytes(), "Digest").unwrap_or_default();
        let expected = expected
            .iter()
            .find(|(name, _)| name == "response")
            .map(|(_, value)| value.as_str());
        let given = self.response.to_ascii_lowercase();
        let equal = constant_time::verify_slices_are_equal(
            expected.unwrap_or_default().as_bytes(),
            given.as_bytes(),
        );
        let same_uri =
            Uri::parse(self.uri.clone().into()).is_ok_and(|uri| uri.equivalent(&request.uri));
        equal.is_ok() && same_uri
    }
}

impl Endpoint {
    /// Returns the trunk of a request from outside all trunk networks.
    ///
    /// Its caller must prove that it knows a trunk's password. If no trunk has a password, the endpoint rejects the request with 403 and sends no
    /// challenge.
    pub(super) fn authenticate_unknown_source(
        &mut self,
        request: &Request,
        source: IpAddr,
        now: Instant,
    ) -> Result<usize, StatelessRefusal> {
        let forbidden = || StatelessRefusal::with_status(403);
        if !self
            .settings
            .trunks
            .iter()
            .any(|trunk| trunk.accept_credentials.is_some())
        {
            return Err(forbidden());
        }
        if request.method != Method::Invite || DialogId::from_request(request).is_some() {
            return Err(forbidden());
        }
        let realm = self.settings.advertised.to_string();
        let Some(authorization) = DigestAuthorization::from_request(request, &realm) else {
            return Err(self.challenge_source(source, false, now));
        };
        // The response is verified even if the username is unknown, so that timing does not reveal
        // valid usernames.
        let trunk = self
            .settings
            .trunks
            .iter()
            .position(|trunk| authorization.names_user_of(trunk));
        let credentials =
            trunk.and_then(|trunk| self.settings.trunks.get(trunk)?.accept_credentials.as_ref());
        let valid = authorization.is_valid(
            request,
            credentials.map_or("", |credentials| &credentials.password),
        );
        match trunk.filter(|_| valid) {
            Some(trunk)
                if self.nonces.consume(
                    (&authorization.nonce, authorization.nonce_count),
                    source,
                    now,
                ) =>
            {
                Ok(trunk)
            }
            trunk => Err(self.challenge_source(source, trunk.is_some(), now)),
        }
    }

    /// Builds a 401 with a new nonce and one challenge for each accepted algorithm, the stronger
    /// first (RFC 8760, section 2.3). `stale` is set if the password was valid but the nonce was
    /// expired or already used.
    fn challenge_source(&mut self, source: IpAddr, stale: bool, now: Instant) -> StatelessRefusal {
        let realm = self.settings.advertised;
        self.nonces.ensure_key(&mut self.entropy, now);
        let unique = self.token();
        let nonce = self.nonces.issue(&unique, source, now).unwrap_or_default();
        let stale = if stale { ", stale=true" } else { "" };
        let trunks = &self.settings.trunks;
        let digests = Digest::ALL
            .into_iter()
            .filter(|digest| trunks.iter().any(|trunk| trunk.accepts(*digest)));
        let challenge = |digest: Digest| {
            let algorithm = digest.algorithm().as_str();
            format!(
                r#"Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{stale}"#
            )
        };
        StatelessRefusal {
            status: 401,
            challenges: digests.map(challenge).collect(),
        }
    }

    /// Returns the trunk of a request that belongs to an accepted call: a retransmitted INVITE, its
    /// CANCEL, or a request within the dialog. The source address must match.
    pub(super) fn trunk_for_known_call(&self, request: &Request, source: IpAddr) -> Option<usize> {
        let path = match DialogId::from_request(request) {
            Some(id) => self.legs.get(&self.leg_for_dialog(&id)?)?.path,
            None => {
                let key = match request.method {
                    Method::Cancel => TransactionKey::for_cancelled_invite(request),
                    _ => TransactionKey::from_request(request),
                }?;
                let transaction = self.transactions.get(&key)?;
                matches!(transaction.purpose, Purpose::PeerRequest(_))
                    .then_some(transaction.path)?
            }
        };
        (path.destination.ip() == source).then_some(path.trunk?)
    }
}
