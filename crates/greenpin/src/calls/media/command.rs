//! Commands to the media threads.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

use media::{Clip, Digit};
use mio::Waker;
use tokio::sync::mpsc::UnboundedSender;

use super::leg::MediaLeg;
use super::{MediaId, Remote};
use crate::RecordingKey;

/// Command to a media thread.
pub(super) enum Command {
    /// Takes over a leg, new or from another thread.
    Adopt(Box<MediaLeg>),
    /// Announces a leg from another thread. Commands for it are queued until it arrives.
    Expect(MediaId),
    /// Moves a leg to another thread.
    HandOver(MediaId, ThreadHandle),
    /// Runs a command on one leg.
    Leg(MediaId, LegCommand),
    /// Ends the thread.
    Shutdown,
}

/// Command to one leg.
pub(super) enum LegCommand {
    Connect(Box<Remote>),
    Play(Arc<Clip>, u64),
    Ringback,
    StopPlaying,
    SendDigits(Vec<Digit>),
    Bridge(MediaId),
    /// Play the audio of this leg to another one, before the answer of its party.
    EarlyMediaTo(MediaId),
    Unbridge,
    Interrupt,
    Record(PathBuf, Option<RecordingKey>),
    Listen(UnboundedSender<Vec<i16>>),
    Close {
        report: bool,
    },
}

/// Sender to a media thread.
#[derive(Debug, Clone)]
pub(super) struct ThreadHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) waker: Arc<Waker>,
}

impl ThreadHandle {
    pub(super) fn send(&self, command: Command) {
        // An ended thread has no legs, so the command has no effect.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}
