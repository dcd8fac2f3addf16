//! Calls: routing, progress, records, recordings.

pub(crate) mod list;
mod progress;
pub(crate) mod record;
pub(crate) mod recording_links;
pub(crate) mod sql;
pub(crate) mod uploads;

pub use self::list::CallFilter;
pub(crate) use self::progress::*;
pub use self::progress::{
    CallEnding, DigitReport, Disposition, LegReport, MediaPath, NewCall, RecordingFile, RoutedCall,
};
pub use self::record::CallRecord;
pub use self::recording_links::LinkError;
pub use self::sql::Upload;
