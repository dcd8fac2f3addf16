//! Reader of encrypted recordings: fetches the blocks of a range and decrypts each as it arrives.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::Source;
use crate::crypto::encrypted_file::Decryptor;

struct Reading {
    decryptor: Decryptor,
    stored: BoxStream<'static, io::Result<Bytes>>,
    /// Bytes of the next block that have arrived.
    arrived: Vec<u8>,
    block: u64,
    skip: usize,
    left: u64,
}

/// Returns `count` bytes of the audio file from `first` on.
pub(super) async fn read(
    decryptor: Decryptor,
    source: Source,
    first: u64,
    count: u64,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let span = decryptor.span(first, count);
    let head = Bytes::copy_from_slice(decryptor.head(span.head));
    let stored = source.read(span.stored).await?;
    let reading = Reading {
        decryptor,
        stored,
        arrived: Vec::new(),
        block: span.block,
        skip: span.skip,
        left: span.audio,
    };
    let head = stream::iter((!head.is_empty()).then_some(Ok(head)));
    Ok(head
        .chain(stream::try_unfold(reading, Reading::next))
        .boxed())
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut block = self.next_block().await?;
        let audio = self.decryptor.decrypt(self.block, &mut block)?;
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let octets: Vec<u8> = audio.iter().skip(self.skip).take(wanted).copied().collect();
        self.left = self.left.saturating_sub(octets.len() as u64);
        (self.block, self.skip) = (self.block + 1, 0);
        Ok(Some((octets.into(), self)))
    }

    async fn next_block(&mut self) -> io::Result<Vec<u8>> {
        let length = self.decryptor.stored_length(self.block);
        while self.arrived.len() < length {
            let chunk = self.stored.next().await.ok_or(ErrorKind::UnexpectedEof)??;
            self.arrived.extend_from_slice(&chunk);
        }
        let rest = self.arrived.split_off(length);
        Ok(std::mem::replace(&mut self.arrived, rest))
    }
}
