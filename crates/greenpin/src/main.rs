//! The `greenpin` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    greenpin::cli::main()
}
