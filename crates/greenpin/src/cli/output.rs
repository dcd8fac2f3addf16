//! Output of the commands: results on standard output, notes and errors on standard error. It replaces `println!` and
//! `eprintln!`, which panic if nothing can be written.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};

use super::logging;
use crate::config::{ConfigError, Fault};

/// Reason for which a command ends early.
#[derive(Debug)]
pub(super) enum CommandError {
    /// Text for the user.
    Failed(String),
    /// The reader of standard output, such as `head`, has closed it. This is not a failure.
    OutputClosed,
}

impl CommandError {
    /// Turns any error into a failure, for output that cannot be printed again.
    pub(super) fn into_failure(self, consequence: impl Display) -> Self {
        let why = match self {
            Self::Failed(why) => why,
            Self::OutputClosed => "standard output is closed".to_owned(),
        };
        Self::Failed(format!("{why}; {consequence}"))
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

/// Returns the exit code of a command, and prints the error if it failed.
pub(super) fn exit_code(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) | Err(CommandError::OutputClosed) => ExitCode::SUCCESS,
        Err(CommandError::Failed(why)) => fail(why),
    }
}

/// Prints the faults of a configuration: as text, or as lines of the log if `GREENPIN_LOG_FORMAT` is `json`.
pub(super) fn fail_configuration(error: &ConfigError) -> ExitCode {
    if !logging::is_json() {
        return fail(error);
    }
    for Fault { origin, message } in error.faults() {
        tracing::error!(origin, "{message}");
    }
    ExitCode::FAILURE
}

/// Prints an error to standard error.
pub(super) fn fail(error: impl Display) -> ExitCode {
    note(format_args!("greenpin: {error}"));
    ExitCode::FAILURE
}

/// Prints an error to standard error before the log runs.
pub(super) fn fail_without_log(error: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "greenpin: cannot start the log: {error}");
    ExitCode::FAILURE
}

/// Prints text to standard output, without colours unless it is a terminal.
pub(super) fn print(text: impl Display) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints a line to standard output.
pub(super) fn print_line(line: impl Display) -> Result<(), CommandError> {
    print(format_args!("{line}\n"))
}

/// Prints a line to standard error, in order with the log. An error is ignored: there is no place to report it.
pub(super) fn note(line: impl Display) {
    let line = line.to_string();
    if AutoStream::choice(&io::stderr()) == ColorChoice::Never {
        logging::write_line(&anstream::adapter::strip_str(&line).to_string());
    } else {
        logging::write_line(&line);
    }
}

/// Prints a question to standard error, and returns the line that is typed.
pub(super) fn ask(question: impl Display) -> io::Result<String> {
    logging::write_now(&question.to_string());
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    Ok(typed.trim().to_owned())
}

/// Lines of a command that runs to its end even if its output cannot be written.
#[derive(Default)]
pub(super) struct Lines {
    error: Option<CommandError>,
}

impl Lines {
    /// Prints a line, unless an earlier one failed.
    pub(super) fn print(&mut self, line: impl Display) {
        if self.error.is_none() {
            self.error = print_line(line).err();
        }
    }

    /// Returns whether every line so far was printed.
    pub(super) fn is_printed(&self) -> bool {
        self.error.is_none()
    }

    /// Returns the error of the first line that was not printed.
    pub(super) fn finish(&mut self) -> Result<(), CommandError> {
        self.error.take().map_or(Ok(()), Err)
    }
}
