//! Snippets of data are well formed.

use std::fs;

use greenpin::config::Config;
use serde_json::Value;

use super::markdown::{Block, blocks, pages, root};

/// Returns the blocks of a language in all pages, each with its place.
fn all_blocks(language: &str) -> Vec<(String, Block)> {
    let mut found = Vec::new();
    for path in pages(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        for block in blocks(&text) {
            if block.language == language {
                found.push((format!("{}:{}", path.display(), block.line), block));
            }
        }
    }
    found
}

#[test]
fn every_json_block_parses() {
    for (place, block) in all_blocks("json") {
        let parsed = serde_json::from_str::<Value>(&block.text);
        assert!(parsed.is_ok(), "{place}: {parsed:?}");
    }
}

#[test]
fn every_toml_block_is_a_valid_configuration() {
    let blocks = all_blocks("toml");
    assert!(!blocks.is_empty());
    for (place, block) in blocks {
        if let Err(error) = Config::read(&place, &block.text, []) {
            panic!("{error}");
        }
    }
}
