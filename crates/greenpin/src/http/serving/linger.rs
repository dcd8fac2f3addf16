//! End of a connection whose client may still send. A close with unread bytes would reset the connection, and the
//! client could lose the response.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Maximum time in which the rest of a request is read and dropped.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time between two parts of the rest.
const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of the rest, in bytes.
const MAX_LINGER_BYTES: usize = 64 * 1024 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;

/// Time for the end of TLS to be sent.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Ends a connection whose client waits for nothing and sends nothing.
pub(super) async fn shut_down<S: AsyncWrite + Unpin>(mut stream: S) {
    // A client that is gone needs no end.
    let _ = timeout(SHUTDOWN_TIMEOUT, stream.shutdown()).await;
}

/// Sends the last response, if there is one, closes the sending side, and drops what the client still sends.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: S, response: &[u8]) {
    let _ = timeout(LINGER_TIMEOUT, send_and_drain(stream, response)).await;
}

async fn send_and_drain<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, response: &[u8]) {
    // A client that is gone needs no response.
    if stream.write_all(response).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = MAX_LINGER_BYTES;
    while left > 0 {
        match timeout(LINGER_IDLE_TIMEOUT, stream.read(&mut chunk)).await {
            Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
}
