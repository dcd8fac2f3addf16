//! Tests of deliveries from a real store, through the tests' own resolver.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::store::{
    AttemptError, Database, DeliveryRecord, EndpointSpec, EventId, NewAllocation, NewNumber,
    NewTenant, NumberMode, StoreOptions, TenantId, TenantSettings, TenantStore,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A store with an event to deliver to a URL.
struct Outbox {
    store: Store,
    tenant: TenantStore,
    event: EventId,
    _folder: TempDir,
}

impl Outbox {
    async fn with_event_to(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("greenpin.db"));
        let key_file = folder.path().join("master.key");
        let store = Store::open(&StoreOptions::new(database, key_file)).unwrap();
        let tenant_id = TenantId::parse("acme").unwrap();
        let new = NewTenant {
            tenant_id: tenant_id.clone(),
            account_sid: "AC1".into(),
            token: None,
            settings: TenantSettings::default(),
            webhooks: vec![EndpointSpec::to(url)],
        };
        let now = Timestamp::now();
        assert!(store.create_tenant(new, now).await.is_ok());
        let vn = call::PhoneNumber::parse("+914000000001").unwrap();
        let number = NewNumber {
            virtual_number: vn,
            mode: NumberMode::Exclusive,
            pin_length: 4,
            max_active: 1,
        };
        store
            .add_number(tenant_id.clone(), number, now)
            .await
            .unwrap();
        let tenant = store.tenant(tenant_id);
        let from = vec![call::PhoneNumber::parse("+919900000001").unwrap()];
        let wanted = NewAllocation::new(vn, from);
        tenant.create_allocation(wanted, now).await.unwrap();
        let logged = tenant.events_after(None, 1).await.unwrap().remove(0);
        Self {
            store,
            tenant,
            event: EventId::parse(&logged.event_id).unwrap(),
            _folder: folder,
        }
    }

    /// Returns the delivery after its first attempt.
    async fn tried(&self, settings: WebhookSettings) -> DeliveryRecord {
        let dispatcher = Dispatcher::start(self.store.clone(), settings).unwrap();
        let tried = tokio::time::timeout(DEADLINE, async {
            loop {
                let delivery = self
                    .tenant
                    .deliveries(&self.event)
                    .await
                    .unwrap()
                    .unwrap()
                    .remove(0);
                if !delivery.attempts.is_empty() {
                    return delivery;
                }
                tokio::task::yield_now().await;
            }
        });
        let tried = tried.await.unwrap();
        dispatcher.stop().await;
        tried
    }
}

/// Starts a receiver that accepts everything and counts connections.
async fn receiver() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let connections = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    (address, count)
}

/// Returns a resolver with one address for every name.
fn leads_to(address: &str) -> Option<Resolver> {
    let address: IpAddr = address.parse().unwrap();
    Some(Arc::new(move |_| {
        Box::pin(async move { Ok(vec![address]) })
    }))
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let (address, connections) = receiver().await;
    let url = format!("http://hooks.example.com:{}/", address.port());
    for private in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"] {
        let settings = WebhookSettings {
            resolver: leads_to(private),
            ..WebhookSettings::default()
        };
        let tried = Outbox::with_event_to(url.clone())
            .await
            .tried(settings)
            .await;
        assert_eq!(
            tried.attempts[0].error,
            Some(AttemptError::AddressRefused),
            "{private}"
        );
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0);
    let outbox = Outbox::with_event_to(url).await;
    let settings = WebhookSettings {
        allow_private: true,
        resolver: leads_to("127.0.0.1"),
        ..WebhookSettings::default()
    };
    let dispatcher = Dispatcher::start(outbox.store.clone(), settings).unwrap();
    let connected = async {
        while connections.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, connected)
        .await
        .expect("where it is allowed, the name is connected to");
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_private_address_is_not_connected_to_however_it_is_written() {
    let (address, connections) = receiver().await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "[::ffff:7f00:1]",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
    ] {
        let outbox = Outbox::with_event_to(format!("http://{host}:{port}/")).await;
        let tried = outbox.tried(WebhookSettings::default()).await;
        assert_eq!(
            tried.attempts[0].error,
            Some(AttemptError::AddressRefused),
            "{host}"
        );
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_unknown_name_is_not_resolved() {
    let unknown: Resolver =
        Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such host")) }));
    let outbox = Outbox::with_event_to("http://nowhere.example.com/".into()).await;
    let tried = outbox
        .tried(WebhookSettings {
            resolver: Some(unknown),
            ..WebhookSettings::default()
        })
        .await;
    assert_eq!(tried.attempts[0].error, Some(AttemptError::NameNotResolved));
}
