//! Which numbers a request names: the called one and the calling one, as texts for the engine to make E.164 of.

use crate::sip::{Address, FromHeader, PAssertedIdentityList, Request, Uri};

/// The user part of the Request-URI, without URI parameters and visual separators; empty if there is none.
pub(crate) fn called(request: &Request) -> String {
    telephone(&request.uri).unwrap_or_default()
}

/// The called number as the user part of our contact; empty where it is not plainly a number.
pub(crate) fn contact_user(called: &str) -> String {
    let plain = called.chars().all(|character| character.is_ascii_digit() || character == '+');
    if plain { called.to_owned() } else { String::new() }
}

/// The caller's number: `P-Asserted-Identity` (RFC 3325) as it comes from a trusted trunk, else `From`.
/// `None`: withheld, or not a number.
pub(crate) fn caller(request: &Request) -> Option<String> {
    let asserted = PAssertedIdentityList::from_headers(&request.headers).ok().flatten();
    if let Some(asserted) = asserted {
        return asserted.values().iter().find_map(|identity| number(identity.address()));
    }
    number(&request.headers.typed::<FromHeader>()?.ok()?.0)
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
    Some(number.chars().filter(|character| !matches!(character, '-' | '.' | '(' | ')' | ' ')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message, parse_datagram};

    fn invite(uri: &str, headers: &str) -> Request {
        let text = format!("INVITE {uri} SIP/2.0\r\n{headers}\r\n");
        match parse_datagram(text.into(), &Limits::datagram()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request was written"),
        }
    }

    #[test]
    fn the_called_number_loses_its_decoration() {
        let called = |uri| called(&invite(uri, ""));
        assert_eq!(called("sip:+914000000001@192.0.2.1;user=phone"), "+914000000001");
        assert_eq!(called("sip:+91-40(0000)0001;npdi@192.0.2.1"), "+914000000001");
        assert_eq!(called("tel:+91-4000000001;phone-context=x"), "+914000000001");
        assert_eq!(called("sip:192.0.2.1"), "");
    }

    #[test]
    fn an_asserted_identity_goes_before_from_and_what_is_withheld_is_nobody() {
        let caller = |headers| caller(&invite("sip:+914000000001@192.0.2.1", headers));
        let from = "From: \"Anonymous\" <sip:+918800000009@192.0.2.9>;tag=1\r\n";
        assert_eq!(caller(from), Some("+918800000009".into()));
        let both = format!("{from}P-Asserted-Identity: <tel:+918800000001>\r\n");
        assert_eq!(caller(&both), Some("+918800000001".into()));
        assert_eq!(caller("From: <sip:anonymous@anonymous.invalid>;tag=1\r\n"), None);
        assert_eq!(caller("From: <sip:192.0.2.1>;tag=1\r\n"), None);
        assert_eq!(caller(&format!("{from}P-Asserted-Identity: <sip:x@y>\r\n")), None);
    }
}
