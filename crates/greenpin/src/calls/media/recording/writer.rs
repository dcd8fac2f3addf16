//! Recording thread. It writes all recordings, so that no media thread waits for the disk.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use media::StereoTimeline;
use tokio::sync::mpsc::UnboundedSender;

use super::audio_file::{AudioFile, RecordingError, unfinished_path};
use crate::RecordingKey;
use crate::calls::media::{MediaEvent, MediaId};
use crate::supervision::{Part, PartGuard, Supervisor};

/// Maximum number of queued samples, 64 MiB. Further samples are lost, and the recording is marked as failed.
const MAX_BACKLOG_SAMPLES: usize = 32 << 20;

/// Recording on a media thread.
pub(crate) struct LegRecording {
    pub(crate) timeline: StereoTimeline,
}

/// Handle of the media threads to the recording thread.
#[derive(Debug, Clone)]
pub(crate) struct RecordingWriter {
    commands: mpsc::Sender<WriterCommand>,
    backlog: Arc<AtomicUsize>,
}

enum WriterCommand {
    Start(MediaId, PathBuf, Option<RecordingKey>),
    Samples(MediaId, Vec<i16>),
    Overrun(MediaId),
    /// Completes the recording of a leg, if any, and then emits this event.
    Finish(MediaId, Option<MediaEvent>),
}

impl RecordingWriter {
    /// Starts the thread. It ends after the last media thread.
    pub(crate) fn start(
        events: UnboundedSender<MediaEvent>,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let guard = supervisor.watch(Part::RecordingThread);
        let (commands, inbox) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let shared = backlog.clone();
        let run = move || {
            WriterThread {
                files: HashMap::new(),
                backlog: shared,
                events,
            }
            .run(&inbox, guard)
        };
        thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(run)?;
        Ok(Self { commands, backlog })
    }

    pub(crate) fn start_recording(&self, id: MediaId, path: PathBuf, key: Option<RecordingKey>) {
        self.send(WriterCommand::Start(id, path, key));
    }

    pub(crate) fn write(&self, id: MediaId, samples: Vec<i16>) {
        let waiting = self.backlog.fetch_add(samples.len(), Ordering::Relaxed);
        if waiting < MAX_BACKLOG_SAMPLES {
            return self.send(WriterCommand::Samples(id, samples));
        }
        self.backlog.fetch_sub(samples.len(), Ordering::Relaxed);
        self.send(WriterCommand::Overrun(id));
    }

    pub(crate) fn finish(&self, id: MediaId, then: Option<MediaEvent>) {
        self.send(WriterCommand::Finish(id, then));
    }

    fn send(&self, command: WriterCommand) {
        // The thread ends only after all senders are gone.
        let _ = self.commands.send(command);
    }
}

struct WriterThread {
    files: HashMap<MediaId, OpenRecording>,
    backlog: Arc<AtomicUsize>,
    events: UnboundedSender<MediaEvent>,
}

struct OpenRecording {
    path: PathBuf,
    state: Result<AudioFile, RecordingError>,
}

impl WriterThread {
    fn run(mut self, inbox: &mpsc::Receiver<WriterCommand>, guard: PartGuard) {
        while let Ok(command) = inbox.recv() {
            guard.fail_point();
            match command {
                WriterCommand::Start(id, path, key) => {
                    let state = AudioFile::create(&path, key.as_ref());
                    self.files.insert(id, OpenRecording { path, state });
                }
                WriterCommand::Samples(id, samples) => self.write(id, &samples),
                WriterCommand::Overrun(id) => self.fail(id, RecordingError::Overrun),
                WriterCommand::Finish(id, then) => self.finish(id, then),
            }
        }
        guard.end();
    }

    fn write(&mut self, id: MediaId, samples: &[i16]) {
        self.backlog.fetch_sub(samples.len(), Ordering::Relaxed);
        let Some(OpenRecording {
            state: Ok(file), ..
        }) = self.files.get_mut(&id)
        else {
            return;
        };
        if let Err(error) = file.append(samples) {
            self.fail(id, error);
        }
    }

    fn fail(&mut self, id: MediaId, error: RecordingError) {
        if let Some(opened) = self.files.get_mut(&id) {
            opened.state = Err(error);
        }
    }

    fn finish(&mut self, id: MediaId, then: Option<MediaEvent>) {
        if let Some(OpenRecording { path, state }) = self.files.remove(&id) {
            let result = state.and_then(|file| file.complete(&path));
            if result.is_err() {
                // Removes the unfinished file, which may not exist.
                let _ = fs::remove_file(unfinished_path(&path));
            }
            self.emit(MediaEvent::RecordingFinished { id, path, result });
        }
        then.into_iter().for_each(|event| self.emit(event));
    }

    fn emit(&self, event: MediaEvent) {
        // The receiver is gone during the shutdown of the engine. The file is complete nevertheless.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn the_end_of_the_thread_is_reported() {
        let supervisor = Supervisor::default();
        supervisor.arm(Part::RecordingThread.as_str());
        let (events, _inbox) = unbounded_channel();
        let writer = RecordingWriter::start(events, &supervisor).unwrap();
        writer.finish(MediaId(1), None);
        assert_eq!(supervisor.failure().await, Part::RecordingThread);
    }
}
