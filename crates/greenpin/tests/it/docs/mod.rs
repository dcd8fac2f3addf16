//! The documentation matches the program: links, catalogues, limits, snippets, and commands to copy.

mod catalogue;
mod command_lines;
mod commands;
mod deploy;
mod limit_constants;
mod limits;
mod links;
mod markdown;
mod shell;
mod snippets;
