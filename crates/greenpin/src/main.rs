//! The `greenpin` command.

use std::process::ExitCode;

/// Gives memory back to the system after a burst of calls; the C library's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    greenpin::cli::main()
}
