//! Bodies of stored responses, compressed. A list of a hundred similar items takes a tenth of its size.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// First character of a compressed body. No other body starts with it.
const MARK: char = '\u{1}';
/// Bodies below this size, in bytes, are stored as they are.
const MIN_COMPRESSED_BYTES: usize = 1024;

/// Returns a body as it is stored.
pub(super) fn pack(body: &[u8]) -> String {
    let plain = || String::from_utf8_lossy(body).into_owned();
    if body.len() < MIN_COMPRESSED_BYTES {
        return plain();
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(body).and_then(|()| encoder.finish());
    match compressed {
        Ok(bytes) => format!("{MARK}{}", STANDARD_NO_PAD.encode(bytes)),
        Err(_) => plain(),
    }
}

/// Returns the body of a stored one. Bodies of earlier versions are not compressed.
pub(super) fn unpack(stored: String) -> Vec<u8> {
    let Some(encoded) = stored.strip_prefix(MARK) else {
        return stored.into_bytes();
    };
    let mut body = Vec::new();
    let compressed = STANDARD_NO_PAD.decode(encoded).unwrap_or_default();
    match DeflateDecoder::new(compressed.as_slice()).read_to_end(&mut body) {
        Ok(_) => body,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_after_it_was_stored() {
        let item = r#"{"status":400,"errors":[{"field":"from","code":"required"}]}"#;
        for body in [String::new(), item.to_owned(), item.repeat(500)] {
            let stored = pack(body.as_bytes());
            assert!(stored.len() <= body.len().min(4096), "{}", stored.len());
            assert_eq!(unpack(stored), body.into_bytes());
        }
    }

    #[test]
    fn a_body_of_an_earlier_version_is_unchanged() {
        assert_eq!(unpack("{}".repeat(2000)), "{}".repeat(2000).into_bytes());
    }
}
