//! Shared cryptography: random numbers, encrypted files and certificates.

pub(crate) mod encrypted_file;
pub(crate) mod pinned_certificate;
pub(crate) mod private_folder;
pub(crate) mod random;
pub(crate) mod reloadable;
pub(crate) mod secret;
pub(crate) mod tls_identity;
pub(crate) mod tls_roots;
pub(crate) mod validity;
