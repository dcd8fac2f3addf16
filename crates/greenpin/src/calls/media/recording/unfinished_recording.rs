//! Unfinished recording after a crash. An encrypted recording cannot be completed, because its header is written last.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::audio_file::UNFINISHED_SUFFIX;
use crate::crypto::private_folder;

/// Octets before the audio in a WAV file.
const WAV_HEADER_BYTES: u64 = 44;
/// Octets per second in a WAV file.
const WAV_BYTES_PER_SECOND: u64 = 32_000;
/// Ticks per second in an Ogg Opus file (RFC 7845, section 4).
const OGG_TICKS_PER_SECOND: u64 = 48_000;
/// Octets of an Ogg page header before the segment table (RFC 3533, section 6).
const PAGE_HEADER_BYTES: usize = 27;

/// Returns the unfinished recordings in a folder.
pub(in crate::calls) fn list_unfinished(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
            parts.push(path);
        }
    }
    Ok(parts)
}

/// Unfinished recording.
#[derive(Debug)]
pub(in crate::calls) struct UnfinishedRecording {
    part: PathBuf,
    path: PathBuf,
    playable: Option<PlayableAudio>,
}

/// Playable part of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlayableAudio {
    /// Octets of samples.
    Wav(u64),
    /// Octets of complete pages, and ticks in them.
    Ogg(u64, u64),
}

impl UnfinishedRecording {
    /// Reads the state of an unfinished recording; `None` if its name is not one of a recording.
    pub(in crate::calls) fn inspect(part: &Path) -> io::Result<Option<Self>> {
        let Some(path) = part
            .to_str()
            .and_then(|name| name.strip_suffix(UNFINISHED_SUFFIX))
        else {
            return Ok(None);
        };
        let mut file = BufReader::new(File::open(part)?);
        let length = file.get_ref().metadata()?.len();
        let mut first = Vec::new();
        (&mut file).take(WAV_HEADER_BYTES).read_to_end(&mut first)?;
        file.rewind()?;
        let playable = match first.get(..4) {
            Some(b"RIFF") => Some(PlayableAudio::Wav(
                length.saturating_sub(WAV_HEADER_BYTES) / 4 * 4,
            )),
            Some(b"OggS") => Some(pages(&mut file)?),
            _ => None,
        };
        let playable = playable.filter(|playable| !playable.duration().is_zero());
        Ok(Some(Self {
            part: part.to_owned(),
            path: path.into(),
            playable,
        }))
    }

    /// Returns the final path.
    pub(in crate::calls) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the playable length; `None` if nothing is playable.
    pub(in crate::calls) fn duration(&self) -> Option<Duration> {
        self.playable.map(PlayableAudio::duration)
    }

    /// Truncates the incomplete end, syncs the file and gives it its final name.
    pub(in crate::calls) fn complete(self) -> io::Result<()> {
        let mut file = File::options().read(true).write(true).open(&self.part)?;
        match self.playable {
            Some(PlayableAudio::Wav(length)) => {
                file.set_len(WAV_HEADER_BYTES + length)?;
                let count = u32::try_from(length).unwrap_or(u32::MAX);
                for (offset, number) in [(4, count.saturating_add(36)), (40, count)] {
                    file.seek(SeekFrom::Start(offset))?;
                    file.write_all(&number.to_le_bytes())?;
                }
            }
            Some(PlayableAudio::Ogg(length, _)) => file.set_len(length)?,
            None => {}
        }
        file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        private_folder::sync(private_folder::of(&self.path))
    }
}

impl PlayableAudio {
    fn duration(self) -> Duration {
        match self {
            Self::Wav(length) => Duration::from_millis(length * 1000 / WAV_BYTES_PER_SECOND),
            Self::Ogg(_, ticks) => Duration::from_millis(ticks * 1000 / OGG_TICKS_PER_SECOND),
        }
    }
}

/// Reads the pages of an Ogg Opus file up to the last complete page.
fn pages(file: &mut impl Read) -> io::Result<PlayableAudio> {
    let (mut length, mut pre_skip, mut end) = (0, None, 0);
    while let Some((octets, granule, body)) = page(file)? {
        length += octets;
        pre_skip = pre_skip.or_else(|| Some(u16::from_le_bytes(*body.get(10..12)?.first_chunk()?)));
        // A page without the end of a packet has the granule position -1.
        end = u64::try_from(granule).map_or(end, |granule| granule.max(end));
    }
    Ok(PlayableAudio::Ogg(
        length,
        end.saturating_sub(pre_skip.unwrap_or(0).into()),
    ))
}

/// Reads the next page: its length, granule position and body. Returns `None` if no complete page remains.
fn page(file: &mut impl Read) -> io::Result<Option<(u64, i64, Vec<u8>)>> {
    let Some(head) = read_exactly(file, PAGE_HEADER_BYTES)? else {
        return Ok(None);
    };
    let granule = head
        .get(6..14)
        .and_then(|octets| octets.first_chunk())
        .map(|octets| i64::from_le_bytes(*octets));
    let (Some(granule), Some(segments), true) = (granule, head.last(), head.starts_with(b"OggS"))
    else {
        return Ok(None);
    };
    let Some(table) = read_exactly(file, usize::from(*segments))? else {
        return Ok(None);
    };
    let length = table.iter().copied().map(usize::from).sum();
    let Some(body) = read_exactly(file, length)? else {
        return Ok(None);
    };
    Ok(Some((
        (PAGE_HEADER_BYTES + table.len() + length) as u64,
        granule,
        body,
    )))
}

/// Reads `count` octets; `None` if fewer remain.
fn read_exactly(file: &mut impl Read, count: usize) -> io::Result<Option<Vec<u8>>> {
    let mut octets = Vec::with_capacity(count);
    file.take(count as u64).read_to_end(&mut octets)?;
    Ok((octets.len() == count).then_some(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::media::recording::audio_file::WAV_FORMAT;
    use crate::calls::media::recording::opus_file::OpusFile;

    fn unfinished_file(name: &str, octets: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(name);
        fs::write(&part, octets).unwrap();
        (folder, part)
    }

    #[test]
    fn an_unfinished_wav_file_gets_a_header_with_its_real_length() {
        let (folder, part) = unfinished_file("a.wav.part", &[]);
        let mut writer = hound::WavWriter::create(&part, WAV_FORMAT).unwrap();
        (0..16_000).for_each(|_| writer.write_sample(7i16).unwrap());
        drop(writer);
        // Simulate a file without a final header, cut within a frame.
        let mut octets = fs::read(&part).unwrap();
        octets[4..8].fill(0);
        octets[40..44].fill(0);
        octets.pop();
        fs::write(&part, octets).unwrap();
        let unfinished = UnfinishedRecording::inspect(&part).unwrap().unwrap();
        assert_eq!(unfinished.duration(), Some(Duration::from_millis(999)));
        unfinished.complete().unwrap();
        let reader = hound::WavReader::open(folder.path().join("a.wav")).unwrap();
        assert_eq!(
            reader
                .into_samples::<i16>()
                .map(Result::unwrap)
                .collect::<Vec<_>>(),
            [7; 15_998]
        );
        assert!(list_unfinished(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn an_unfinished_ogg_file_ends_after_its_last_complete_page() {
        let mut file = OpusFile::new(Vec::new(), 7).unwrap();
        let noise = |index: i32| (index.wrapping_mul(1_103_515_245) >> 16) as i16 / 8;
        let samples: Vec<i16> = (0..160_000).map(noise).collect();
        file.append(&samples).unwrap();
        let whole = file.finish().unwrap();
        let cut = &whole[..whole.len() * 2 / 3];
        let (folder, part) = unfinished_file("a.opus.part", cut);
        assert_eq!(
            list_unfinished(folder.path()).unwrap().as_slice(),
            std::slice::from_ref(&part)
        );
        let unfinished = UnfinishedRecording::inspect(&part).unwrap().unwrap();
        let duration = unfinished.duration().unwrap();
        assert!((5..7).contains(&duration.as_secs()), "{duration:?}");
        unfinished.complete().unwrap();
        let kept = fs::read(folder.path().join("a.opus")).unwrap();
        assert!(whole.starts_with(&kept) && whole[kept.len()..].starts_with(b"OggS"));
    }

    #[test]
    fn encrypted_empty_and_foreign_files_are_not_playable() {
        let head = OpusFile::new(Vec::new(), 7).unwrap().finish().unwrap();
        let page = head[..47].to_vec();
        for octets in [
            &b""[..],
            b"RIFF",
            b"greenpin audio 1 and more",
            b"OggS",
            &page,
            &[0; 100],
        ] {
            let (_folder, part) = unfinished_file("a.opus.part", octets);
            assert_eq!(
                UnfinishedRecording::inspect(&part)
                    .unwrap()
                    .unwrap()
                    .duration(),
                None,
                "{octets:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_parsed_as_pages_without_a_panic(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let octets = [&b"OggS"[..], &octets].concat();
            let PlayableAudio::Ogg(length, _) = pages(&mut &octets[..]).unwrap() else { panic!() };
            proptest::prop_assert!(length <= octets.len() as u64);
        }
    }
}
