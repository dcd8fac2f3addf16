//! `Content-Encoding` of request bodies (RFC 9110, section 8.4): `gzip`, or none.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;

use super::problem::{Code, Problem};

/// Encoding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// None.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
}

/// Error of decoding a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The body is not encoded as the header says, or ends early.
    Invalid,
    /// The decoded body exceeds the limit.
    TooLarge,
}

impl Encoding {
    /// Returns the encoding that the headers name.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let names = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
        let names = names.map(str::trim);
        let mut applied = names.filter(|name| !name.is_empty() && !is_name(name, &["identity"]));
        match (applied.next(), applied.next()) {
            (None, _) => Ok(Self::Identity),
            (Some(name), None) if is_name(name, &["gzip", "x-gzip"]) => Ok(Self::Gzip),
            _ => {
                let detail = "The Content-Encoding of a body must be gzip, or absent.";
                Err(Problem::new(Code::UnsupportedMediaType, detail))
            }
        }
    }

    /// Decodes a body. It never produces more than `max` bytes and a buffer.
    pub(crate) fn decode(self, bytes: Vec<u8>, max: usize) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Identity => Ok(bytes),
            // Clients with an empty body send no gzip header, either.
            Self::Gzip if bytes.is_empty() => Ok(bytes),
            Self::Gzip => {
                let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
                let mut decoded = Vec::new();
                MultiGzDecoder::new(bytes.as_slice())
                    .take(limit)
                    .read_to_end(&mut decoded)
                    .map_err(|_| DecodeError::Invalid)?;
                match decoded.len() > max {
                    true => Err(DecodeError::TooLarge),
                    false => Ok(decoded),
                }
            }
        }
    }
}

fn is_name(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_decoded_up_to_the_limit_and_no_further() {
        let decode = |bytes: &[u8]| Encoding::Gzip.decode(bytes.to_vec(), 1000);
        assert_eq!(decode(&gzip(b"hello")), Ok(b"hello".to_vec()));
        assert_eq!(
            decode(&[gzip(b"a"), gzip(b"b")].concat()),
            Ok(b"ab".to_vec())
        );
        assert_eq!(decode(&gzip(&[7; 1000])), Ok(vec![7; 1000]));
        assert_eq!(decode(&gzip(&[7; 1001])), Err(DecodeError::TooLarge));
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decode(&bomb), Err(DecodeError::TooLarge));
        assert_eq!(decode(b""), Ok(Vec::new()));
        let hello = gzip(b"hello");
        let mut wrong_sum = hello.clone();
        wrong_sum[hello.len() - 6] ^= 1;
        for invalid in [&b"{}"[..], &hello[..hello.len() - 1], &wrong_sum] {
            assert_eq!(decode(invalid), Err(DecodeError::Invalid));
        }
    }

    #[test]
    fn one_layer_of_gzip_is_accepted() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers).ok()
        };
        for none in [&[][..], &[""], &["identity"], &["Identity, identity"]] {
            assert_eq!(of(none), Some(Encoding::Identity), "{none:?}");
        }
        for gzip in [&["gzip"][..], &["GZIP"], &["x-gzip"], &["identity", "gzip"]] {
            assert_eq!(of(gzip), Some(Encoding::Gzip), "{gzip:?}");
        }
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
