//! The `greenpin` command.

fn main() {}
