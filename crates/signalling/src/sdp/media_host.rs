//! Host names in session descriptions. RFC 8866, section 5.7 allows them in place of addresses.

use std::net::IpAddr;

/// Maximum length of a host name in octets (RFC 1035, section 2.3.4).
const NAME_OCTETS: usize = 253;

/// Host name in a connection line (`c=`) of a session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHost {
    /// Host name.
    pub name: String,
    /// The line is for IPv6.
    pub is_ipv6: bool,
}

impl MediaHost {
    /// Returns the first host name in the connection lines of a body.
    pub(crate) fn find(body: &[u8]) -> Option<Self> {
        body.split(|octet| *octet == b'\n')
            .find_map(Self::from_line)
    }

    /// Returns `true` if the address can be written in place of the name.
    pub fn accepts(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6 && !address.is_unspecified() && !address.is_multicast()
    }

    /// Returns the body with the address in each connection line that has this name.
    pub(crate) fn replace(&self, body: &[u8], address: IpAddr) -> Vec<u8> {
        let family = if address.is_ipv6() { "IP6" } else { "IP4" };
        let mut replaced = Vec::with_capacity(body.len());
        for line in body.split_inclusive(|octet| *octet == b'\n') {
            if Self::from_line(line).as_ref() == Some(self) {
                replaced.extend_from_slice(format!("c=IN {family} {address}\r\n").as_bytes());
            } else {
                replaced.extend_from_slice(line);
            }
        }
        replaced
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        let value = line.strip_prefix(b"c=")?;
        let mut words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
        let (network, family, name) = (words.next()?, words.next()?, words.next()?);
        let is_ipv6 = match (network, family) {
            ("IN", "IP4") => false,
            ("IN", "IP6") => true,
            _ => return None,
        };
        let is_name = name.len() <= NAME_OCTETS
            && name.contains(|letter: char| letter.is_ascii_alphabetic())
            && name.bytes().all(is_name_octet);
        let host = Self {
            name: name.to_owned(),
            is_ipv6,
        };
        Some(host).filter(|_| is_name)
    }
}

fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_in_a_connection_line_is_replaced_by_its_address() {
        let body = b"v=0\r\no=- 1 1 IN IP4 sbc.example\r\nc=IN IP4 sbc.example\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\nc=IN IP4 sbc.example";
        let host = MediaHost::find(body).unwrap();
        assert_eq!((host.name.as_str(), host.is_ipv6), ("sbc.example", false));
        let replaced = host.replace(body, "192.0.2.7".parse().unwrap());
        let expected = "v=0\r\no=- 1 1 IN IP4 sbc.example\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\nc=IN IP4 192.0.2.7\r\n";
        assert_eq!(String::from_utf8(replaced).unwrap(), expected);
    }

    #[test]
    fn addresses_and_other_texts_are_no_host_names() {
        for line in [
            "c=IN IP4 192.0.2.1",
            "c=IN IP4 224.2.1.1/127",
            "c=IN IP6 2001:db8::1",
            "c=IN IP4",
            "c=IN IP4 a/b",
            "c=IN IP4 \u{e4}.example",
            "c=ATM NSAP host",
            "s=c=IN IP4 host",
        ] {
            assert_eq!(MediaHost::find(line.as_bytes()), None, "{line}");
        }
        let long = format!("c=IN IP4 {}", "a".repeat(254));
        assert_eq!(MediaHost::find(long.as_bytes()), None);
    }

    #[test]
    fn an_address_must_be_of_the_family_of_the_line_and_of_one_host() {
        let host = MediaHost::find(b"c=IN IP4 host").unwrap();
        for (address, accepted) in [
            ("192.0.2.1", true),
            ("::1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(
                host.accepts(address.parse().unwrap()),
                accepted,
                "{address}"
            );
        }
    }
}
