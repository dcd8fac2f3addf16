//! The documentation matches the program: links, catalogues, snippets, and commands to copy.

mod catalogue;
mod commands;
mod links;
mod markdown;
mod snippets;
