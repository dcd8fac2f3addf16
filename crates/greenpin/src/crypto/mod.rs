//! Cryptography that several parts share: random numbers, encrypted files, trusted certificates.

pub(crate) mod encrypted_file;
pub(crate) mod random;
pub(crate) mod secret;
pub(crate) mod tls_roots;
