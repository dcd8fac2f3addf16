//! Which part may use which: the table of ARCHITECTURE.md, held against the `use` lines.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of the server's sources, and what must not be named in it.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "src/http",
        &[
            "rusqlite",
            "signalling",
            "media::",
            "crate::webhooks",
            "crate::cli",
        ],
    ),
    (
        "src/calls",
        &[
            "crate::http",
            "crate::webhooks",
            "crate::cli",
            "crate::config",
            "axum",
            "reqwest",
            "rusqlite",
        ],
    ),
    (
        "src/webhooks",
        &[
            "crate::http",
            "crate::calls",
            "crate::cli",
            "signalling",
            "media::",
            "rusqlite",
        ],
    ),
    (
        "src/store",
        &[
            "crate::http",
            "crate::calls",
            "crate::webhooks",
            "crate::cli",
            "crate::config",
            "axum",
            "signalling",
            "media::",
        ],
    ),
    (
        "../call/src",
        &[
            "tokio",
            "signalling",
            "media::",
            "std::net",
            "Instant::now",
            "SystemTime",
        ],
    ),
    (
        "../signalling/src",
        &[
            "tokio",
            "call::",
            "media::",
            "std::io",
            "UdpSocket",
            "SystemTime",
        ],
    ),
    (
        "../media/src",
        &[
            "tokio",
            "call::",
            "signalling",
            "std::net",
            "Instant::now",
            "SystemTime",
        ],
    ),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The code of a file up to its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .to_owned();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn no_part_uses_what_the_architecture_forbids_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, forbidden) in FORBIDDEN {
        let files = sources(&root.join(folder));
        assert!(!files.is_empty(), "{folder} is empty");
        for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
            let code = code(path);
            for name in *forbidden {
                assert!(!code.contains(name), "{} uses {name}", path.display());
            }
        }
    }
}

#[test]
fn one_module_of_the_signalling_names_the_sip_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in sources(&root.join("../signalling/src")) {
        let names = code(&path).contains("sipx_sip");
        assert_eq!(names, path.ends_with("sip.rs"), "{}", path.display());
    }
}

#[test]
fn every_route_comes_with_its_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in sources(&root.join("src/http")) {
        // `routes!` takes documented handlers alone.
        assert!(
            !code(&path).contains(".route("),
            "{} has a route without a document",
            path.display()
        );
    }
}
