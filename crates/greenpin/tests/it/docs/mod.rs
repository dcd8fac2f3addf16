//! The documentation matches the program: links, catalogues, limits, snippets, and commands to copy.

mod catalogue;
mod commands;
mod limit_constants;
mod limits;
mod links;
mod markdown;
mod snippets;
