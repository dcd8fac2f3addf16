//! Parts of Markdown pages.

use std::fs;
use std::path::{Path, PathBuf};

/// Marker of a `sh` block that no test runs. It is the line before the block.
const NOT_RUN: &str = "<!-- not run: ";
/// Folders without pages of this repository.
const FOREIGN_FOLDERS: [&str; 2] = ["target", "node_modules"];

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Returns the text of a page, named from the root of the repository.
pub fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// Returns all pages below a folder, sorted. Hidden folders and build output are skipped.
pub fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || FOREIGN_FOLDERS.contains(&name) {
            continue;
        }
        if path.is_dir() {
            found.extend(pages(&path));
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A fenced block of a page.
pub struct Block {
    /// Word behind the fence, such as `sh`.
    pub language: String,
    /// Lines between the fences, without the indentation of the fence.
    pub text: String,
    /// Line of the opening fence.
    pub line: usize,
    /// Whether the page marks it as not run.
    pub is_skipped: bool,
}

/// Returns the fenced blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    let mut previous = "";
    for (index, line) in page.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.as_mut()) {
            (Some(language), None) => {
                let indentation = line.len() - line.trim_start().len();
                let block = Block {
                    language: language.to_owned(),
                    text: String::new(),
                    line: index + 1,
                    is_skipped: previous.trim_start().starts_with(NOT_RUN),
                };
                open = Some((block, indentation));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (None, Some((block, indentation))) => {
                block.text += line.get(*indentation..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) => previous = line,
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// Returns the lines of a page outside its fenced blocks.
pub fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the cells of the table rows of a page, without borders.
pub fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    prose(page)
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split(" | ").map(str::trim).collect())
}
