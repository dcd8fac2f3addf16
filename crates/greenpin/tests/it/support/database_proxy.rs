//! TCP proxy in front of the PostgreSQL server, which a test can cut.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Proxy on loopback. It ends with the test process.
pub struct DatabaseProxy {
    address: SocketAddr,
    target: SocketAddr,
    state: Arc<Mutex<ProxyState>>,
}

#[derive(Default)]
struct ProxyState {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl DatabaseProxy {
    /// Starts a proxy to the server of a URL.
    pub fn new(database_url: &str) -> Self {
        let (_, rest) = database_url.split_once('@').unwrap();
        let target = rest.split('/').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            target,
            state: Arc::default(),
        };
        let state = proxy.state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                forward(&state, &client, target);
            }
        });
        proxy
    }

    /// Returns a URL of the database that leads through the proxy.
    pub fn url(&self, database_url: &str) -> String {
        database_url.replacen(&self.target.to_string(), &self.address.to_string(), 1)
    }

    /// Closes all connections, and each new one at once.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_cut = true;
        for stream in state.open.drain(..) {
            // The peer may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forwards new connections again.
    pub fn restore(&self) {
        self.state.lock().unwrap().is_cut = false;
    }
}

/// Copies between a client and the server, unless the proxy is cut.
fn forward(state: &Mutex<ProxyState>, client: &TcpStream, target: SocketAddr) {
    let mut state = state.lock().unwrap();
    if state.is_cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    for (from, to) in [(client, &server), (&server, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || {
            // A cut ends the copy with an error.
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    state.open.push(client.try_clone().unwrap());
    state.open.push(server);
}
