//! Callers who are known by a password and not by their address (RFC 3261, section 22; RFC 7616): asked without
//! remembering anything, and let in once for each number of a nonce.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, hmac};

use super::receive::Refusal;
use super::{Endpoint, Purpose};
use crate::dialog::DialogId;
use crate::parameters::parameters_of;
use crate::sip::{self, Algorithm, Challenge, HeaderName, Method, Request, TransactionKey, Uri};
use crate::trunk::Credentials;

/// What is asked for, the stronger first (RFC 8760, section 2.3).
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];
/// How long a nonce can be answered.
const LIFETIME: Duration = Duration::from_secs(300);
/// Nonces whose numbers are remembered. Only whoever knows a password takes one of these places.
const MOST_NONCES: usize = 4096;

/// What tells our nonces from others, and which of their numbers are used up.
#[derive(Default)]
pub(super) struct Gate {
    /// Made with the first challenge.
    seal: Option<Seal>,
    used: BTreeMap<String, Numbers>,
    /// Nonces of this second and before are refused: what is remembered of them had to make room.
    forgotten: Option<u64>,
}

struct Seal {
    key: hmac::Key,
    epoch: Instant,
}

/// The numbers of a nonce that were used: the highest, and which of the 63 below it.
#[derive(Debug, Default)]
struct Numbers {
    highest: u32,
    below: u64,
}

impl Numbers {
    /// Takes a number, once. One that is far behind the highest counts as used.
    fn take(&mut self, number: u32) -> bool {
        if number > self.highest {
            let ahead = number - self.highest;
            self.below = self.below.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - number).unwrap_or(0);
        let fresh = bit != 0 && self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

/// What a caller answers to a challenge.
struct Proof {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    number: u32,
    cnonce: String,
}

impl Proof {
    /// Reads the first `Authorization` of a request that is for our realm. Without `qop=auth` there is none: nothing
    /// would tell it from one that is sent again.
    fn of(request: &Request, realm: &str) -> Option<Self> {
        let name = HeaderName::Authorization;
        let proofs = request.headers.get_all(&name).filter_map(|header| Self::parse(&header.value()));
        proofs.into_iter().find(|proof| proof.realm == realm)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let parameters = parameters_of(value, "Digest")?;
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        get("qop").filter(|qop| qop.eq_ignore_ascii_case("auth"))?;
        let number = get("nc").filter(|number| number.len() == 8)?;
        Some(Self {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm: get("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::parse(&name))?,
            number: u32::from_str_radix(&number, 16).ok()?,
            cnonce: get("cnonce")?,
        })
    }

    /// Whether it was made with this password for this request.
    fn is_right(&self, request: &Request, password: &str) -> bool {
        let challenge = Challenge {
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            opaque: None,
            algorithm: self.algorithm,
            qop_auth: true,
            stale: false,
            from_proxy: false,
        };
        let known = sip::Credentials::new(self.username.clone(), password);
        let method = request.method.to_string();
        let expected = sip::respond(&challenge, &known, &method, &self.uri, self.number, &self.cnonce);
        let expected = parameters_of(expected.as_bytes(), "Digest").unwrap_or_default();
        let expected = expected.iter().find(|(name, _)| name == "response").map(|(_, value)| value.as_str());
        let given = self.response.to_ascii_lowercase();
        let same =
            constant_time::verify_slices_are_equal(expected.unwrap_or_default().as_bytes(), given.as_bytes());
        let uri = Uri::parse(self.uri.clone().into()).is_ok_and(|uri| uri.equivalent(&request.uri));
        same.is_ok() && uri && ALGORITHMS.contains(&self.algorithm)
    }
}

impl Gate {
    fn tag(&self, text: &str, source: IpAddr) -> Option<String> {
        let signed = format!("{text} {source}");
        let tag = hmac::sign(&self.seal.as_ref()?.key, signed.as_bytes());
        Some(tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.seal.as_ref().map_or(0, |seal| now.saturating_duration_since(seal.epoch).as_secs())
    }

    /// A nonce for one source: when it was made, something that makes it one of its kind, and our seal.
    fn nonce(&self, unique: &str, source: IpAddr, now: Instant) -> Option<String> {
        let text = format!("{:08x}{unique}", self.seconds(now));
        let tag = self.tag(&text, source)?;
        Some(text + &tag)
    }

    /// Uses a number of a nonce up; `false`: the nonce is not ours, too old, or the number was used before.
    fn take(&mut self, proof: &Proof, source: IpAddr, now: Instant) -> bool {
        let Some((text, tag)) = proof.nonce.split_at_checked(24) else { return false };
        let ours = self.tag(text, source).is_some_and(|ours| ours == tag);
        let made = text.get(..8).and_then(|made| u64::from_str_radix(made, 16).ok());
        let Some(made) = made.filter(|_| ours) else { return false };
        let seconds = self.seconds(now);
        let fresh = seconds.saturating_sub(made) <= LIFETIME.as_secs();
        if !fresh || self.forgotten.is_some_and(|forgotten| made <= forgotten) {
            return false;
        }
        let taken = self.used.entry(proof.nonce.clone()).or_default().take(proof.number);
        self.make_room(seconds);
        taken
    }

    /// Forgets nonces that are too old, and where that is not enough the oldest one, which is refused from then on. They
    /// are in the order of their age.
    fn make_room(&mut self, seconds: u64) {
        let made = |nonce: &str| nonce.get(..8).and_then(|made| u64::from_str_radix(made, 16).ok());
        while let Some(oldest) = self.used.first_entry() {
            let age = made(oldest.key()).unwrap_or_default();
            let old = seconds.saturating_sub(age) > LIFETIME.as_secs();
            if !old && self.used.len() <= MOST_NONCES {
                return;
            }
            if !old {
                self.forgotten = Some(age);
            }
            self.used.pop_first();
        }
    }
}

impl Endpoint {
    /// The trunk that a request is of which comes from no trunk's network: one whose password the caller knows, or that
    /// of the call which it belongs to. Where no trunk has a password nobody is asked for one.
    pub(super) fn admit_stranger(
        &mut self,
        request: &Request,
        source: IpAddr,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let forbidden = || Refusal::plain(403);
        if !self.settings.trunks.iter().any(|trunk| trunk.accept_credentials.is_some()) {
            return Err(forbidden());
        }
        if let Some(trunk) = self.trunk_of_known_call(request, source) {
            return Ok(trunk);
        }
        if request.method != Method::Invite || DialogId::of_request(request).is_some() {
            return Err(forbidden());
        }
        let realm = self.settings.advertised.to_string();
        let Some(proof) = Proof::of(request, &realm) else {
            return Err(self.ask_stranger(source, false, now));
        };
        // Whoever does not know a user name learns nothing of it from how long the answer takes.
        let trunk =
            self.settings.trunks.iter().position(|trunk| knows(trunk.accept_credentials.as_ref(), &proof));
        let known = trunk.and_then(|trunk| self.settings.trunks.get(trunk)?.accept_credentials.as_ref());
        let right = proof.is_right(request, known.map_or("", |known| &known.password));
        match trunk.filter(|_| right) {
            Some(trunk) if self.gate.take(&proof, source, now) => Ok(trunk),
            trunk => Err(self.ask_stranger(source, trunk.is_some(), now)),
        }
    }

    /// A challenge for each algorithm, with a nonce of its own. `stale`: the password was right, the nonce was not.
    fn ask_stranger(&mut self, source: IpAddr, stale: bool, now: Instant) -> Refusal {
        let realm = self.settings.advertised;
        if self.gate.seal.is_none() {
            let secret: Vec<u8> = (0..4).flat_map(|_| (self.entropy)().to_be_bytes()).collect();
            self.gate.seal = Some(Seal { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), epoch: now });
        }
        let unique = self.token();
        let nonce = self.gate.nonce(&unique, source, now).unwrap_or_default();
        let stale = if stale { ", stale=true" } else { "" };
        let challenge = |algorithm: &Algorithm| {
            let algorithm = algorithm.as_str();
            format!(r#"Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{stale}"#)
        };
        Refusal { status: 401, challenges: ALGORITHMS.iter().map(challenge).collect() }
    }

    /// The trunk of a call that was let in before: its INVITE again, what withdraws it, or a request within it, from
    /// where it came from.
    fn trunk_of_known_call(&self, request: &Request, source: IpAddr) -> Option<usize> {
        let path = match DialogId::of_request(request) {
            Some(id) => self.legs.get(&self.leg_of(&id)?)?.path,
            None => {
                let key = match request.method {
                    Method::Cancel => TransactionKey::for_cancelled_invite(request),
                    _ => TransactionKey::from_request(request),
                }?;
                let transaction = self.transactions.get(&key)?;
                matches!(transaction.purpose, Purpose::Serve(_)).then_some(transaction.path)?
            }
        };
        (path.destination.ip() == source).then_some(path.trunk?)
    }
}

fn knows(known: Option<&Credentials>, proof: &Proof) -> bool {
    known.is_some_and(|known| known.username == proof.username)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_in_any_order_and_never_from_far_behind() {
        let mut numbers = Numbers::default();
        let taken = [1, 1, 3, 2, 2, 3, 70, 7, 8, 6, u32::MAX, u32::MAX, u32::MAX - 63, u32::MAX - 64, 0];
        let fresh = taken.map(|number| numbers.take(number));
        let expected =
            [true, false, true, true, false, false, true, true, true, false, true, false, true, false, false];
        assert_eq!(fresh, expected);
    }

    fn gate() -> (Gate, Instant) {
        let epoch = Instant::now();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        (Gate { seal: Some(Seal { key, epoch }), ..Gate::default() }, epoch)
    }

    fn proof(nonce: &str, number: u32) -> Proof {
        let value = format!(
            r#"Digest username="u", realm="r", nonce="{nonce}", uri="sip:x", response="0", qop=auth, nc={number:08x}, cnonce="c""#
        );
        Proof::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_nonce_is_for_one_source_and_for_a_while() {
        let (mut gate, epoch) = gate();
        let [source, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let nonce = gate.nonce("0123456789abcdef", source, epoch).unwrap();
        assert!(!gate.take(&proof(&nonce, 1), other, epoch));
        assert!(gate.take(&proof(&nonce, 1), source, epoch));
        assert!(!gate.take(&proof(&nonce, 1), source, epoch));
        assert!(gate.take(&proof(&nonce, 2), source, epoch + LIFETIME));
        assert!(!gate.take(&proof(&nonce, 3), source, epoch + LIFETIME + Duration::from_secs(1)));
        for forged in ["", "00000000", &nonce.replace('0', "1"), "äääääääääääääääääääää"]
        {
            assert!(!gate.take(&proof(forged, 1), source, epoch), "{forged}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_made_room_is_refused() {
        let (mut gate, epoch) = gate();
        let source = IpAddr::from([192, 0, 2, 1]);
        let first = gate.nonce("0000000000000000", source, epoch).unwrap();
        assert!(gate.take(&proof(&first, 1), source, epoch));
        let later = epoch + Duration::from_secs(1);
        for count in 0..MOST_NONCES {
            let nonce = gate.nonce(&format!("{count:016x}"), source, later).unwrap();
            assert!(gate.take(&proof(&nonce, 1), source, later));
        }
        assert_eq!(gate.used.len(), MOST_NONCES);
        assert!(!gate.take(&proof(&first, 1), source, later), "its numbers are forgotten");
        let last = later + LIFETIME + Duration::from_secs(1);
        let nonce = gate.nonce("0000000000000000", source, last).unwrap();
        assert!(gate.take(&proof(&nonce, 1), source, last));
        assert_eq!(gate.used.len(), 1, "what is too old is not kept");
    }
}
