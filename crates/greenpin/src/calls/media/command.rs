//! The commands to a media thread.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

use media::{Clip, Digit};
use mio::Waker;
use tokio::sync::mpsc::UnboundedSender;

use super::leg::MediaLeg;
use super::{MediaId, Remote};

/// What a media thread is told.
pub(super) enum Command {
    /// A leg comes, new or from another thread.
    Adopt(Box<MediaLeg>),
    /// The leg with this id will be adopted: what is told to it waits.
    Expect(MediaId),
    /// The leg goes to another thread.
    HandOver(MediaId, ThreadHandle),
    /// For one leg.
    Leg(MediaId, LegCommand),
    /// The plane is gone.
    Shutdown,
}

/// What a leg is told.
pub(super) enum LegCommand {
    Connect(Box<Remote>),
    Play(Arc<Clip>, u64),
    Ringback,
    StopPlaying,
    SendDigits(Vec<Digit>),
    Bridge(MediaId),
    Unbridge,
    Interrupt,
    Record(PathBuf),
    Listen(UnboundedSender<Vec<i16>>),
    Close { report: bool },
}

/// How a media thread is reached.
#[derive(Debug, Clone)]
pub(super) struct ThreadHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) waker: Arc<Waker>,
}

impl ThreadHandle {
    pub(super) fn send(&self, command: Command) {
        // A thread that ended has nothing left to do for anybody.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}
