//! Ends each long-lived task and thread in turn: the server is no longer ready, says which part has ended, and stops.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use signalling::Transport;

use super::*;
use crate::calls::sip::first_address;
use crate::store::{NewTenant, TenantId, TenantSettings};

const TIMEOUT: Duration = Duration::from_secs(30);

struct ServerHarness {
    _folder: TempDir,
    server: Server,
}

impl ServerHarness {
    async fn start(supervisor: Supervisor) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n\
             [store]\nurl = \"sqlite:{}\"\nencryption_key_file = \"{}\"\n[recordings]\nurl = \"file:{}\"\n",
            path("greenpin.db").display(),
            path("master.key").display(),
            path("recordings").display(),
        );
        let file = path("greenpin.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file)).unwrap();
        let server = Server::start_supervised(&config, supervisor).await.unwrap();
        Self {
            _folder: folder,
            server,
        }
    }

    /// Waits for the report of the part, checks the readiness and stops the server.
    async fn assert_failed(self, part: Part) {
        let failed = tokio::time::timeout(TIMEOUT, self.server.failure()).await;
        assert_eq!(failed.expect("the end of the part is reported"), part);
        if part != Part::Http {
            let (head, body) = readiness(self.server.http).await;
            assert!(head.starts_with("HTTP/1.1 503"), "{part:?}: {head}");
            assert!(body.contains(r#""tasks":false"#), "{part:?}: {body}");
        }
        let stopped = tokio::time::timeout(TIMEOUT, self.server.stop(Duration::ZERO)).await;
        stopped.expect("the rest of the server stops");
    }
}

async fn readiness(address: SocketAddr) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /readyz HTTP/1.1\r\nHost: greenpin\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_sound_server_is_ready() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    let (head, body) = readiness(harness.server.http).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{body}");
    harness.server.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn the_end_of_the_call_loop_is_reported() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    harness.server.supervisor.arm(Part::CallLoop.as_str());
    harness.server.engine.handle().calls().await;
    harness.assert_failed(Part::CallLoop).await;
}

#[tokio::test]
async fn the_end_of_the_http_task_is_reported() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    harness.server.supervisor.arm(Part::Http.as_str());
    // The listener may be gone before the connection is made.
    let _connection = TcpStream::connect(harness.server.http).await;
    harness.assert_failed(Part::Http).await;
}

#[tokio::test]
async fn the_end_of_the_membership_is_reported() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    harness.server.supervisor.arm(Part::Membership.as_str());
    harness.assert_failed(Part::Membership).await;
}

#[tokio::test]
async fn the_end_of_the_webhook_task_is_reported() {
    // Armed before the first poll: the next one may be half a minute later.
    let supervisor = Supervisor::default();
    supervisor.arm(Part::Webhooks.as_str());
    let harness = ServerHarness::start(supervisor).await;
    harness.assert_failed(Part::Webhooks).await;
}

#[tokio::test]
async fn the_end_of_a_sip_listener_is_reported() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    harness.server.supervisor.arm(Part::SipListener.as_str());
    let address = first_address(&harness.server.sip_listen, Transport::Tcp).unwrap();
    let _connection = TcpStream::connect(address).await;
    harness.assert_failed(Part::SipListener).await;
}

#[tokio::test]
async fn the_end_of_the_store_writer_is_reported() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    harness.server.supervisor.arm(Part::StoreWriter.as_str());
    let tenant = NewTenant {
        tenant_id: TenantId::parse("acme").unwrap(),
        account_sid: "AC0001".to_owned(),
        token: None,
        settings: TenantSettings::default(),
        webhooks: Vec::new(),
    };
    // A heartbeat may meet the armed point first; then this write meets the ended thread.
    let _ = harness
        .server
        .store
        .create_tenant(tenant, Timestamp::now())
        .await;
    harness.assert_failed(Part::StoreWriter).await;
}

#[tokio::test]
async fn the_end_of_the_checkpoint_thread_is_reported() {
    let supervisor = Supervisor::default();
    supervisor.arm(Part::StoreCheckpoint.as_str());
    let harness = ServerHarness::start(supervisor).await;
    harness.assert_failed(Part::StoreCheckpoint).await;
}

#[tokio::test]
async fn repeating_jobs_are_restarted() {
    let harness = ServerHarness::start(Supervisor::default()).await;
    let supervisor = &harness.server.supervisor;
    // Armed twice: the second panic shows that the job runs again.
    for _ in 0..2 {
        supervisor.arm(Part::Expiry.as_str());
        let passed = async {
            while supervisor.is_armed(Part::Expiry.as_str()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, passed)
            .await
            .expect("the job passes the point");
    }
    assert!(supervisor.is_sound());
    harness.server.stop(Duration::ZERO).await;
}
