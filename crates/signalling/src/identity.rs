//! Called and calling number of a request, as text. The engine converts them to E.164.

use bytes::Bytes;

use crate::sip::{
    Address, FromHeader, HeaderName, PAssertedIdentityList, PPreferredIdentityList, Request, To,
    Uri,
};
use crate::trunk::{CalledFrom, CallerFrom};

/// Returns the user part of the called URI, without URI parameters and visual separators. Empty if
/// the URI has none.
pub(crate) fn called(request: &Request, from: CalledFrom) -> String {
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

/// Returns the caller's number from the header configured for the trunk, or from `From` if that
/// header is missing.
///
/// The trunk is trusted: `Privacy` (RFC 3325, section 7) limits whom the number is shown to, not
/// its use here. Returns `None` if the number is withheld or malformed.
pub(crate) fn caller(request: &Request, from: CallerFrom) -> Option<String> {
    let headers = &request.headers;
    let identity = match from {
        CallerFrom::AssertedIdentity => PAssertedIdentityList::from_headers(headers)
            .ok()
            .flatten()
            .map(|list| {
                list.values()
                    .iter()
                    .find_map(|value| number(value.address()))
            }),
        CallerFrom::PreferredIdentity => PPreferredIdentityList::from_headers(headers)
            .ok()
            .flatten()
            .map(|list| {
                list.values()
                    .iter()
                    .find_map(|value| number(value.address()))
            }),
        CallerFrom::RemotePartyId => remote_party(request),
        CallerFrom::From => None,
    };
    if let Some(identity) = identity {
        return identity;
    }
    number(&request.headers.typed::<FromHeader>()?.ok()?.0)
}

/// Returns the number of the calling party in `Remote-Party-ID`. `Some(None)` means that the party
/// is named without a number.
fn remote_party(request: &Request) -> Option<Option<String>> {
    let name = HeaderName::Other(Bytes::from_static(b"Remote-Party-ID"));
    let lists = request.headers.get_all(&name);
    let parties = lists
        .filter_map(|list| Address::parse_list(&list.value(), "Remote-Party-ID").ok())
        .flatten();
    let calling = |party: &Address| {
        party
            .param("party")
            .is_none_or(|party| party.eq_ignore_ascii_case(b"calling"))
    };
    parties
        .into_iter()
        .find(calling)
        .map(|party| number(&party))
}

fn number(address: &Address) -> Option<String> {
    telephone(&address.uri).filter(|user| {
        let digits = user.strip_prefix('+').unwrap_or(user);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn telephone(uri: &Uri) -> Option<String> {
    let user = match uri.tel_parts() {
        Some(tel) => tel.subscriber().to_vec(),
        None => uri.decoded_user()?,
    };
    let user = String::from_utf8(user).ok()?;
    let number = user.split(';').next().unwrap_or_default();
    Some(
        number
            .chars()
            .filter(|character| !matches!(character, '-' | '.' | '(' | ')' | ' '))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message, parse_datagram};

    fn invite(uri: &str, headers: &str) -> Request {
        let text = format!("INVITE {uri} SIP/2.0\r\n{headers}\r\n");
        match parse_datagram(text.into(), &Limits::datagram()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("expected a request"),
        }
    }

    fn caller_by(from: CallerFrom, headers: &str) -> Option<String> {
        caller(&invite("sip:+914000000001@192.0.2.1", headers), from)
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
        assert_eq!(called(&invite, CalledFrom::To), "+914000000002");
    }

    #[test]
    fn the_called_number_is_read_without_parameters_and_separators() {
        let called = |uri| called(&invite(uri, ""), CalledFrom::RequestUri);
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
}
