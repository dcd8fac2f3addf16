//! Called and calling number of a request, as text. The engine converts them to E.164.

use bytes::Bytes;

use crate::address_list::{self, ListedAddress};
use crate::sip::{HeaderName, Request, To, Uri};
use crate::trunk::{CalledFrom, CallerFrom};

/// Maximum number of values that are considered for the caller. RFC 3325 allows two.
const MAX_IDENTITIES: usize = 8;

/// Number as a trunk presents it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PresentedNumber {
    /// User part of the URI, without visual separators.
    pub text: String,
    /// `phone-context` of the URI.
    pub context: Option<NumberContext>,
    /// Result of the carrier's check of the number; `None` without `verstat`.
    pub verification: Option<NumberVerification>,
}

/// Result of the check of a caller's number by the carrier (`verstat`, 3GPP TS 24.229, section 7.2A.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberVerification {
    /// The signature of the originating carrier is valid.
    Passed,
    /// The signature is not valid.
    Failed,
    /// The carrier has not checked the number.
    NotValidated,
}

/// Context of a local number (RFC 3966, section 5.1.5).
#[derive(Clone, PartialEq, Eq)]
pub enum NumberContext {
    /// First digits of the international numbers in which the local number is valid, after `+`.
    Prefix(String),
    /// Domain, or a context that cannot be read.
    Domain,
}

/// Identity of the caller.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CallerIdentity {
    /// Numbers in the order of the header: digits with or without `+`. The caller has the first one that is a
    /// telephone number. Empty if the caller is unknown.
    pub numbers: Vec<PresentedNumber>,
    /// The called party must not see the number (RFC 3323, RFC 3325 section 7).
    pub withheld: bool,
}

/// Returns the user part of the called URI, without URI parameters and visual separators. Empty if
/// the URI has none.
pub(crate) fn called(request: &Request, from: CalledFrom) -> PresentedNumber {
    let number = match from {
        CalledFrom::RequestUri => telephone(&request.uri),
        CalledFrom::To => {
            let to = request.headers.typed::<To>().and_then(Result::ok);
            to.and_then(|to| telephone(&to.uri))
        }
    };
    number.unwrap_or_default()
}

/// Returns the called number for use as the user part of the local contact. Empty if it has any
/// character except digits and `+`.
pub(crate) fn contact_user(called: &str) -> String {
    let plain = called
        .chars()
        .all(|character| character.is_ascii_digit() || character == '+');
    if plain {
        called.to_owned()
    } else {
        String::new()
    }
}

/// Returns the caller's identity from the header configured for the trunk, or from `From` if that
/// header is missing.
///
/// The caller controls `From`. Therefore it does not replace a header that is present but cannot be
/// read: the caller may have caused that by its display name.
pub(crate) fn caller(request: &Request, from: CallerFrom) -> CallerIdentity {
    let from_header = || listed_numbers(addresses(request, &HeaderName::From));
    let (numbers, withheld) = match from {
        CallerFrom::AssertedIdentity => (identity(request, &HeaderName::PAssertedIdentity), false),
        CallerFrom::PreferredIdentity => {
            (identity(request, &HeaderName::PPreferredIdentity), false)
        }
        CallerFrom::RemotePartyId => {
            let party = calling_party(request);
            party.map_or((None, false), |party| (Some(party.numbers), party.withheld))
        }
        CallerFrom::From => (None, false),
    };
    CallerIdentity {
        numbers: numbers.unwrap_or_else(from_header),
        withheld: withheld || asks_for_privacy(request),
    }
}

/// Returns the numbers of an identity header; `None` if the header is missing.
fn identity(request: &Request, name: &HeaderName) -> Option<Vec<PresentedNumber>> {
    let addresses = addresses(request, name);
    (!addresses.is_empty()).then(|| listed_numbers(addresses))
}

/// Returns the calling party of `Remote-Party-ID`; `None` if the header names no calling party. A value that cannot be
/// read counts as a calling party without a number.
fn calling_party(request: &Request) -> Option<CallerIdentity> {
    let name = HeaderName::Other(Bytes::from_static(b"Remote-Party-ID"));
    let mut parties = addresses(request, &name);
    parties.retain(|party| party.as_ref().is_none_or(is_calling));
    let withheld = parties.iter().flatten().any(is_private);
    (!parties.is_empty()).then(|| CallerIdentity {
        numbers: listed_numbers(parties),
        withheld,
    })
}

fn is_calling(party: &ListedAddress) -> bool {
    party
        .parameters("party")
        .all(|party| party.eq_ignore_ascii_case(b"calling"))
}

/// Returns `true` for `privacy=full`, `name` or `uri`, also with a suffix such as `-network`.
fn is_private(party: &ListedAddress) -> bool {
    let words = party
        .parameters("privacy")
        .flat_map(|value| value.split(|byte| *byte == b','));
    words
        .filter_map(|word| word.split(|byte| *byte == b'-').next())
        .any(|word| is_any(word, &["full", "name", "uri"]))
}

/// Returns `true` if `Privacy` asks to hide the caller's identity.
fn asks_for_privacy(request: &Request) -> bool {
    let mut headers = request.headers.get_all(&HeaderName::Privacy);
    headers.any(|header| {
        header
            .value()
            .split(|byte| matches!(byte, b';' | b','))
            .any(|word| is_any(word, &["id", "user", "header", "full"]))
    })
}

fn is_any(word: &[u8], words: &[&str]) -> bool {
    let word = word.trim_ascii();
    words
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// Reads the values of all headers of this name.
fn addresses(request: &Request, name: &HeaderName) -> Vec<Option<ListedAddress>> {
    let headers = request.headers.get_all(name);
    headers
        .flat_map(|header| address_list::read(&header.value()))
        .collect()
}

fn listed_numbers(addresses: Vec<Option<ListedAddress>>) -> Vec<PresentedNumber> {
    let addresses = addresses.into_iter().flatten();
    addresses
        .filter_map(|address| number(&address.uri))
        .take(MAX_IDENTITIES)
        .collect()
}

fn number(uri: &Uri) -> Option<PresentedNumber> {
    telephone(uri).filter(|number| {
        let digits = number.text.strip_prefix('+').unwrap_or(&number.text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Reads a `tel` URI, or the user part of a `sip` URI in the same form (RFC 3261, section 19.1.6).
fn telephone(uri: &Uri) -> Option<PresentedNumber> {
    let subscriber = match uri.tel_parts() {
        Some(tel) => {
            let parameters = tel.parameters().unwrap_or_default();
            [tel.subscriber(), b";", parameters].concat()
        }
        None => uri.decoded_user()?,
    };
    let subscriber = String::from_utf8(subscriber).ok()?;
    let (text, parameters) = subscriber.split_once(';').unwrap_or((&subscriber, ""));
    let parameter = |name: &str| {
        let in_user = parameters.split(';').find_map(|parameter| {
            let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        let in_uri = || {
            let parameter = uri.params()?.get(name)?;
            Some(std::str::from_utf8(parameter.value().unwrap_or_default()).unwrap_or_default())
        };
        in_user.or_else(in_uri)
    };
    Some(PresentedNumber {
        text: without_separators(text),
        context: parameter("phone-context").map(context),
        verification: parameter("verstat").and_then(verification),
    })
}

/// Reads the value of `verstat`. Carriers append their own suffixes, such as `TN-Validation-Passed-A`.
fn verification(value: &str) -> Option<NumberVerification> {
    let value = value.to_ascii_lowercase();
    let words = [
        ("tn-validation-passed", NumberVerification::Passed),
        ("tn-validation-failed", NumberVerification::Failed),
        ("no-tn-validation", NumberVerification::NotValidated),
    ];
    let mut words = words.into_iter();
    words
        .find(|(word, _)| value.starts_with(word))
        .map(|(_, verification)| verification)
}

fn context(value: &str) -> NumberContext {
    let value = without_separators(value);
    let digits = value.strip_prefix('+').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        NumberContext::Prefix(digits.to_owned())
    } else {
        NumberContext::Domain
    }
}

fn without_separators(number: &str) -> String {
    number
        .chars()
        .filter(|character| !matches!(character, '-' | '.' | '(' | ')' | ' '))
        .collect()
}

impl std::fmt::Debug for PresentedNumber {
    /// Omits the number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresentedNumber").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CallerIdentity {
    /// Omits the numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerIdentity")
            .field("withheld", &self.withheld)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message, parse_datagram};

    fn invite(uri: &str, headers: impl AsRef<[u8]>) -> Request {
        let line = format!("INVITE {uri} SIP/2.0\r\n");
        let text = [line.as_bytes(), headers.as_ref(), b"\r\n"].concat();
        match parse_datagram(text.into(), &Limits::datagram()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("expected a request"),
        }
    }

    fn identity_by(from: CallerFrom, headers: impl AsRef<[u8]>) -> CallerIdentity {
        caller(&invite("sip:+914000000001@192.0.2.1", headers), from)
    }

    fn caller_by(from: CallerFrom, headers: impl AsRef<[u8]>) -> Option<String> {
        let numbers = identity_by(from, headers).numbers;
        numbers.into_iter().next().map(|number| number.text)
    }

    #[test]
    fn the_numbers_are_read_from_the_header_configured_for_the_trunk() {
        let headers = "From: <sip:+918800000009@192.0.2.9>;tag=1\r\nTo: <sip:+914000000002@192.0.2.1>\r\n\
                       P-Asserted-Identity: <tel:+918800000001>\r\nP-Preferred-Identity: <tel:+918800000002>\r\n\
                       Remote-Party-ID: <sip:+918800000004@x>;party=called\r\n\
                       Remote-Party-ID: \"A\" <sip:+918800000003@x>;party=calling;privacy=off\r\nPrivacy: id\r\n";
        for (from, number) in [
            (CallerFrom::AssertedIdentity, "+918800000001"),
            (CallerFrom::PreferredIdentity, "+918800000002"),
            (CallerFrom::RemotePartyId, "+918800000003"),
            (CallerFrom::From, "+918800000009"),
        ] {
            assert_eq!(
                caller_by(from, headers).as_deref(),
                Some(number),
                "{from:?}"
            );
        }
        let bare = "From: <sip:+918800000009@192.0.2.9>;tag=1\r\n";
        for from in [CallerFrom::PreferredIdentity, CallerFrom::RemotePartyId] {
            assert_eq!(
                caller_by(from, bare).as_deref(),
                Some("+918800000009"),
                "{from:?}"
            );
        }
        let withheld = format!("{bare}Remote-Party-ID: <sip:anonymous@x>;party=calling\r\n");
        assert_eq!(caller_by(CallerFrom::RemotePartyId, &withheld), None);
        let invite = invite("sip:trunk-user@192.0.2.1", headers);
        assert_eq!(called(&invite, CalledFrom::To).text, "+914000000002");
    }

    #[test]
    fn the_called_number_is_read_without_parameters_and_separators() {
        let called = |uri| called(&invite(uri, ""), CalledFrom::RequestUri).text;
        assert_eq!(
            called("sip:+914000000001@192.0.2.1;user=phone"),
            "+914000000001"
        );
        assert_eq!(
            called("sip:+91-40(0000)0001;npdi@192.0.2.1"),
            "+914000000001"
        );
        assert_eq!(
            called("tel:+91-4000000001;phone-context=x"),
            "+914000000001"
        );
        assert_eq!(called("sip:192.0.2.1"), "");
    }

    #[test]
    fn an_asserted_identity_takes_precedence_over_from_and_a_withheld_number_is_none() {
        let caller = |headers| caller_by(CallerFrom::AssertedIdentity, headers);
        let from = "From: \"Anonymous\" <sip:+918800000009@192.0.2.9>;tag=1\r\n";
        assert_eq!(caller(from), Some("+918800000009".into()));
        let both = format!("{from}P-Asserted-Identity: <tel:+918800000001>\r\n");
        assert_eq!(caller(&both), Some("+918800000001".into()));
        assert_eq!(
            caller("From: <sip:anonymous@anonymous.invalid>;tag=1\r\n"),
            None
        );
        assert_eq!(caller("From: <sip:192.0.2.1>;tag=1\r\n"), None);
        assert_eq!(
            caller(&format!("{from}P-Asserted-Identity: <sip:x@y>\r\n")),
            None
        );
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_unknown_and_not_from() {
        let from = "From: <sip:+918800000001@192.0.2.9>;tag=1\r\n";
        for (kind, name) in [
            (CallerFrom::AssertedIdentity, "P-Asserted-Identity"),
            (CallerFrom::PreferredIdentity, "P-Preferred-Identity"),
            (CallerFrom::RemotePartyId, "Remote-Party-ID"),
        ] {
            for value in [
                "",
                "<<<",
                "\"A <tel:+918800000009>",
                "<sip:anonymous@x>",
                "<tel:>",
            ] {
                let headers = format!("{from}{name}: {value}\r\n");
                assert_eq!(caller_by(kind, headers), None, "{kind:?} {value}");
            }
            for value in [
                "J\u{f6}rg <sip:+918800000009@x>",
                "Doe, Jane <sip:+918800000009@x>",
                "<sip:+918800000009@x>;screen=yes",
                "sip:+918800000009@x;user=phone",
                "<<<, <sip:+918800000009@x>",
                "<sip:anonymous@x>, <tel:+91-8800-000009>",
            ] {
                let headers = format!("{from}{name}: {value}\r\n");
                let latin: Vec<u8> = headers.chars().map(|c| c as u8).collect();
                let number = if value.starts_with("<<<") {
                    None
                } else {
                    Some("+918800000009".into())
                };
                assert_eq!(caller_by(kind, latin), number, "{kind:?} {value}");
            }
            let lines = format!("{from}{name}: <>\r\n{name}: <tel:+918800000009>\r\n");
            assert_eq!(caller_by(kind, lines), Some("+918800000009".into()));
        }
        let called = format!("{from}Remote-Party-ID: <sip:+918800000009@x>;party=called\r\n");
        assert_eq!(
            caller_by(CallerFrom::RemotePartyId, called),
            Some("+918800000001".into()),
            "no calling party is named"
        );
    }

    #[test]
    fn every_number_of_a_header_is_kept_because_the_first_may_be_no_telephone_number() {
        let headers = "P-Asserted-Identity: <sip:1001@pbx>, <tel:+918800000001>\r\n";
        let numbers = identity_by(CallerFrom::AssertedIdentity, headers).numbers;
        let texts: Vec<_> = numbers.iter().map(|number| number.text.as_str()).collect();
        assert_eq!(texts, ["1001", "+918800000001"]);
        let many = "P-Asserted-Identity: <tel:+918800000001>\r\n".repeat(50);
        let numbers = identity_by(CallerFrom::AssertedIdentity, many).numbers;
        assert_eq!(numbers.len(), MAX_IDENTITIES);
    }

    #[test]
    fn a_number_is_withheld_if_the_caller_or_the_network_asks_for_it() {
        let withheld = |kind, header: &str| {
            let headers = format!("From: <sip:+918800000001@x>;tag=1\r\n{header}\r\n");
            let identity = identity_by(kind, headers);
            assert_eq!(identity.numbers.len(), 1, "{header}");
            identity.withheld
        };
        for (value, expected) in [
            ("id", true),
            ("ID;critical", true),
            ("critical; user", true),
            ("header", true),
            ("session, full", true),
            ("none", false),
            ("session;critical", false),
            ("", false),
        ] {
            for kind in [CallerFrom::AssertedIdentity, CallerFrom::From] {
                let header = format!("Privacy: {value}");
                assert_eq!(withheld(kind, &header), expected, "{value}");
            }
        }
        for (value, expected) in [
            ("party=calling;privacy=full", true),
            ("privacy=\"name,uri\"", true),
            ("privacy=uri-network", true),
            ("party=calling;privacy=off;screen=yes", false),
            ("screen=no", false),
        ] {
            let header = format!("Remote-Party-ID: <sip:+918800000002@x>;{value}");
            assert_eq!(
                withheld(CallerFrom::RemotePartyId, &header),
                expected,
                "{value}"
            );
            assert!(!withheld(CallerFrom::AssertedIdentity, &header), "{value}");
        }
    }

    #[test]
    fn the_verification_of_a_number_is_read_from_the_user_part_or_the_uri() {
        let verified = |uri: &str| {
            let headers = format!("P-Asserted-Identity: <{uri}>\r\n");
            let numbers = identity_by(CallerFrom::AssertedIdentity, headers).numbers;
            (numbers[0].text.clone(), numbers[0].verification)
        };
        for (value, expected) in [
            ("TN-Validation-Passed", Some(NumberVerification::Passed)),
            ("tn-validation-passed-a", Some(NumberVerification::Passed)),
            ("TN-Validation-Failed", Some(NumberVerification::Failed)),
            ("No-TN-Validation", Some(NumberVerification::NotValidated)),
            ("Passed", None),
            ("", None),
        ] {
            for uri in [
                format!("sip:+918800000001;verstat={value}@x;user=phone"),
                format!("sip:+918800000001@x;verstat={value}"),
                format!("tel:+918800000001;verstat={value}"),
            ] {
                assert_eq!(verified(&uri), ("+918800000001".into(), expected), "{uri}");
            }
        }
        assert_eq!(verified("tel:+918800000001").1, None);
    }

    #[test]
    fn the_context_of_a_local_number_is_kept() {
        let prefix = |digits: &str| Some(NumberContext::Prefix(digits.into()));
        let domain = Some(NumberContext::Domain);
        for (uri, text, context) in [
            (
                "tel:4000000001;phone-context=+91",
                "4000000001",
                prefix("91"),
            ),
            (
                "tel:555-2671;isub=1;Phone-Context=+1-415",
                "5552671",
                prefix("1415"),
            ),
            (
                "sip:4000000001;phone-context=+91@x;user=phone",
                "4000000001",
                prefix("91"),
            ),
            (
                "sip:4000000001@x;user=phone;phone-context=+91",
                "4000000001",
                prefix("91"),
            ),
            (
                "tel:4000000001;phone-context=carrier.example",
                "4000000001",
                domain.clone(),
            ),
            (
                "tel:4000000001;phone-context=+",
                "4000000001",
                domain.clone(),
            ),
            ("sip:4000000001;phone-context@x", "4000000001", domain),
            ("tel:+914000000001", "+914000000001", None),
            ("sip:4000000001;npdi@x", "4000000001", None),
        ] {
            let headers = format!("P-Asserted-Identity: <{uri}>\r\n");
            let numbers = identity_by(CallerFrom::AssertedIdentity, headers).numbers;
            let called = called(&invite(uri, ""), CalledFrom::RequestUri);
            for number in [&numbers[0], &called] {
                assert_eq!(number.text, text, "{uri}");
                assert!(number.context == context, "{uri}");
            }
        }
    }
}
