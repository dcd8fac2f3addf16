//! The operator API and the command line.

mod access;
mod command_line;
mod commands;
mod credentials;
mod demo;
mod erasure;
mod import;
mod node;
mod numbers;
mod tenants;
