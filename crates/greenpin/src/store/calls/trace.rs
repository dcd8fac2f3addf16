//! Trace of a call: its masked SIP messages, decisions and media facts.
//!
//! A trace is written once, shortly after its call record, in a table of its own. It is compressed and encrypted.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::store::calls::sql;
use crate::store::{CallSid, Store, StoreError, TenantId, TenantStore};

/// Maximum size of an encoded trace in octets. A longer one is not read.
const MAX_ENCODED_BYTES: usize = 1 << 20;

/// Trace of a call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CallTrace {
    /// The trace has reached its limit: later messages are missing.
    pub truncated: bool,
    /// Legs: the caller, then the dialled legs in the order of dialling.
    pub legs: Vec<TraceLeg>,
    /// Entries in the order of time.
    pub entries: Vec<TraceEntry>,
}

/// Leg of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLeg {
    /// Masked number of the party; `None` if it is withheld or unknown.
    pub number: Option<String>,
    /// Trunk of the leg.
    pub trunk: String,
}

/// Entry of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Microseconds since the start of the call.
    pub at: i64,
    /// Index of the leg; `None` for the call itself.
    pub leg: Option<u16>,
    /// Content.
    pub fact: TraceFact,
}

/// Word of a trace: a constant while it is written.
pub type TraceWord = Cow<'static, str>;

/// Content of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TraceFact {
    /// SIP message.
    Sip {
        /// The peer has sent it.
        received: bool,
        /// Transport: `udp`, `tcp` or `tls`.
        transport: TraceWord,
        /// Address of this server.
        local: SocketAddr,
        /// Address of the peer.
        peer: SocketAddr,
        /// Masked text.
        text: String,
    },
    /// Pressed key, without the digit.
    Digit {
        /// Method: `rfc4733`, `info` or `in_band`.
        method: TraceWord,
    },
    /// Decision of the call machine, or an input of it.
    Decision {
        /// Name.
        action: TraceWord,
        /// Reason.
        reason: Option<TraceWord>,
        /// Text for people.
        text: TraceWord,
    },
    /// A number is dialled over a trunk, or cannot be dialled.
    Dial {
        /// Trunk; `None` if the number was not dialled.
        trunk: Option<String>,
        /// Masked number.
        number: String,
    },
    /// A dialled leg has ended.
    DialEnd {
        /// Final SIP status of a rejected leg.
        sip_status: Option<u16>,
        /// Word of the cause.
        cause: TraceWord,
    },
    /// Statistics of the audio of a leg at its end.
    Media {
        /// Name of the codec.
        codec: Option<TraceWord>,
        /// Number of received packets.
        packets_received: u64,
        /// Number of lost packets.
        packets_lost: u64,
        /// Number of sent packets.
        packets_sent: u64,
        /// Interarrival jitter in milliseconds.
        jitter_ms: f64,
        /// Estimated mean opinion score of the received audio.
        mos: Option<f64>,
    },
    /// The recording has begun, is finished or has failed.
    Recording {
        /// State: `started`, `finished` or `failed`.
        state: TraceWord,
        /// Length in seconds.
        duration: Option<u64>,
    },
}

/// Encoded trace of a call, before its encryption.
#[derive(Debug, Clone)]
pub struct SealedTrace {
    /// Tenant of the call.
    pub tenant_id: TenantId,
    /// Id of the call.
    pub call_sid: CallSid,
    encoded: Vec<u8>,
}

impl SealedTrace {
    /// Encodes a trace.
    pub fn new(
        tenant_id: TenantId,
        call_sid: CallSid,
        trace: &CallTrace,
    ) -> Result<Self, StoreError> {
        let text = serde_json::to_vec(trace).map_err(|_| UNREADABLE)?;
        Ok(Self {
            tenant_id,
            call_sid,
            encoded: lz4_flex::compress_prepend_size(&text),
        })
    }
}

const UNREADABLE: StoreError = StoreError::Unreadable("call trace");

impl Store {
    /// Writes traces. A call that was removed meanwhile, or has a trace, gets none.
    pub async fn write_traces(&self, traces: Vec<SealedTrace>) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(traces.len());
        for trace in traces {
            match self.encrypt_trace(&trace).await {
                Ok(encrypted) => rows.push((trace.tenant_id, trace.call_sid, encrypted)),
                // An erased tenant has no key any more.
                Err(StoreError::Unreadable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for (writer, rows) in self.writers.split(rows, |(tenant, ..)| tenant) {
            let write = writer.write::<_, StoreError, _>(move |tx| {
                rows.iter().try_for_each(|(tenant, sid, encrypted)| {
                    let row = (encrypted, tenant.as_str(), sid.as_str());
                    tx.execute_deferred(sql::TRACE_INSERT, row)
                })
            });
            write.await?;
        }
        Ok(())
    }

    async fn encrypt_trace(&self, trace: &SealedTrace) -> Result<String, StoreError> {
        let key = match self.keys.cached_tenant(&trace.tenant_id) {
            Some(key) => key,
            None => {
                let tenant = trace.tenant_id.clone();
                let read = self
                    .readers
                    .look_up(move |snapshot| snapshot.tenant_key(&tenant));
                read.await?
            }
        };
        key.encrypt_octets(&context(&trace.call_sid), trace.encoded.clone())
    }
}

impl TenantStore {
    /// Returns the trace of a call; `None` if there is none.
    pub async fn trace(&self, call_sid: &CallSid) -> Result<Option<CallTrace>, StoreError> {
        let (tenant, call_sid) = (self.tenant_id.clone(), call_sid.clone());
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), call_sid.as_str());
            let encrypted =
                snapshot.row(sql::TRACE_SELECT, key, |row| row.get::<String>("sealed"))?;
            let Some(encrypted) = encrypted else {
                return Ok(None);
            };
            let key = snapshot.tenant_key(&tenant)?;
            decode(&key.decrypt_octets(&context(&call_sid), &encrypted)?).map(Some)
        });
        read.await
    }
}

fn decode(encoded: &[u8]) -> Result<CallTrace, StoreError> {
    let (size, compressed) = lz4_flex::block::uncompressed_size(encoded).map_err(|_| UNREADABLE)?;
    if size > MAX_ENCODED_BYTES {
        return Err(UNREADABLE);
    }
    let text = lz4_flex::decompress(compressed, size).map_err(|_| UNREADABLE)?;
    serde_json::from_slice(&text).map_err(|_| UNREADABLE)
}

/// Returns the encryption context of a trace.
fn context(call_sid: &CallSid) -> String {
    format!("trace {call_sid}")
}
