//! PostgreSQL over TLS.

use std::path::PathBuf;

use super::super::*;
use super::postgres;

/// Opens a store on a new database. Also returns the URL of the database in clear.
fn open(mode: &str, ca: Option<PathBuf>) -> (Result<Store, OpenError>, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = postgres::new_database();
    let server = format!("{url}?sslmode={mode}").parse().unwrap();
    let options = StoreOptions {
        tls_ca: ca,
        ..StoreOptions::new(
            Database::Server(Box::new(server)),
            folder.path().join("master.key"),
        )
    };
    (Store::open(&options), url)
}

/// Returns for each connection of the store whether it is encrypted.
async fn encrypted(url: &str) -> Vec<bool> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let asked = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = current_database() AND application_name = 'greenpin'";
    client
        .query(asked, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_with_sslmode_require_is_encrypted_and_others_are_not() {
    for (mode, ca, secret) in [
        ("require", Some(postgres::authority()), true),
        ("prefer", None, false),
    ] {
        let (store, url) = open(mode, ca);
        let store = store.unwrap();
        store.ready().await.unwrap();
        let found = encrypted(&url).await;
        assert!(
            !found.is_empty() && found.iter().all(|is_encrypted| *is_encrypted == secret),
            "{mode}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_an_untrusted_certificate_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    std::fs::write(&other, certificate.pem()).unwrap();
    let (store, url) = open("require", Some(other));
    let error = store.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(encrypted(&url).await.is_empty());
    let (store, _) = open("require", Some(folder.path().join("absent.pem")));
    let error = store.unwrap_err().to_string();
    assert!(error.contains("absent.pem"), "{error}");
}
