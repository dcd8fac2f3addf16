//! SRTP of a leg: our keys and the peer's key.

use media::{SRTP_OVERHEAD, SrtpReceiver, SrtpSender, SrtpSuite};
use signalling::sdes::{Secrets, SrtpKey, Suite};

/// Encrypts and decrypts a leg's packets after the negotiation of keys. Before it, packets pass unchanged.
pub(in crate::calls::media) struct LegSrtp {
    secrets: Secrets,
    /// One sender per suite ever used on this leg. A return to a suite continues its key stream, because a restart
    /// would use it twice.
    senders: Vec<SrtpSender>,
    /// Boxed, because most legs are not encrypted.
    agreed: Option<Box<SrtpKeys>>,
}

struct SrtpKeys {
    key: SrtpKey,
    /// Index in `senders`.
    sender: usize,
    receiver: SrtpReceiver,
}

impl LegSrtp {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            senders: Vec::new(),
            agreed: None,
        }
    }

    /// Sets or clears the peer's key. An unchanged key keeps its state.
    pub(super) fn set_peer_key(&mut self, key: Option<SrtpKey>) {
        if self.agreed.as_ref().map(|agreed| agreed.key) != key {
            self.agreed = key.and_then(|key| self.new_keys(key));
        }
    }

    fn new_keys(&mut self, key: SrtpKey) -> Option<Box<SrtpKeys>> {
        let suite = suite(key.suite());
        let receiver = SrtpReceiver::new(suite, key.expose())?;
        let known = self
            .senders
            .iter()
            .position(|sender| sender.suite() == suite);
        let sender = known.unwrap_or(self.senders.len());
        if known.is_none() {
            self.senders.push(SrtpSender::new(
                suite,
                self.secrets.key(key.suite()).expose(),
            )?);
        }
        Some(Box::new(SrtpKeys {
            key,
            sender,
            receiver,
        }))
    }

    /// Returns `true` if packets are encrypted.
    pub(super) fn is_enabled(&self) -> bool {
        self.agreed.is_some()
    }

    /// Returns the name of the suite, if packets are encrypted.
    pub(super) fn suite(&self) -> Option<&'static str> {
        self.agreed.as_ref().map(|agreed| agreed.key.suite().name())
    }

    /// Decrypts an RTP packet in place. Returns its length, or `None` if the authentication fails.
    pub(super) fn decrypt(&mut self, datagram: &mut [u8]) -> Option<usize> {
        match &mut self.agreed {
            Some(agreed) => agreed.receiver.open(datagram).ok(),
            None => Some(datagram.len()),
        }
    }

    /// Decrypts an RTCP packet in place. Returns its length, or `None` if the authentication fails.
    pub(super) fn decrypt_rtcp(&mut self, datagram: &mut [u8]) -> Option<usize> {
        match &mut self.agreed {
            Some(agreed) => agreed.receiver.open_rtcp(datagram).ok(),
            None => Some(datagram.len()),
        }
    }

    /// Encrypts the RTP packet in the first `length` octets. Returns its new length, or `None` if it must not be sent.
    pub(super) fn encrypt(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        match &self.agreed {
            Some(agreed) => self
                .senders
                .get_mut(agreed.sender)?
                .seal(buffer, length)
                .ok(),
            None => Some(length),
        }
    }

    /// Encrypts an RTCP packet. Returns `false` if it must not be sent.
    pub(super) fn encrypt_rtcp(&mut self, compound: &mut Vec<u8>) -> bool {
        let Some(agreed) = &self.agreed else {
            return true;
        };
        let length = compound.len();
        compound.resize(length.saturating_add(SRTP_OVERHEAD), 0);
        let sender = self.senders.get_mut(agreed.sender);
        let encrypted = sender.and_then(|sender| sender.seal_rtcp(compound, length).ok());
        compound.truncate(encrypted.unwrap_or(0));
        encrypted.is_some()
    }
}

fn suite(named: Suite) -> SrtpSuite {
    match named {
        Suite::AesCm128HmacSha1_80 => SrtpSuite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32 => SrtpSuite::AesCm128HmacSha1_32,
        Suite::AeadAes128Gcm => SrtpSuite::AeadAes128Gcm,
        Suite::AeadAes256Gcm => SrtpSuite::AeadAes256Gcm,
    }
}
