//! Shared cryptography: random numbers, encrypted files and CA certificates.

pub(crate) mod encrypted_file;
pub(crate) mod private_folder;
pub(crate) mod random;
pub(crate) mod secret;
pub(crate) mod tls_roots;
