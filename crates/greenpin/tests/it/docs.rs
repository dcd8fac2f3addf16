//! Documentation matches the code.

use std::fs;
use std::path::{Path, PathBuf};

use greenpin::http::Code;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_error_code_is_in_the_api_document_with_its_status() {
    let document = fs::read_to_string(root().join("docs/api.md")).unwrap();
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status());
        assert!(document.contains(&row), "docs/api.md lacks {row}");
    }
}

#[test]
fn every_link_between_documents_has_a_target() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/api.md",
        "docs/benchmarks.md",
        "docs/calls.md",
        "docs/configuration.md",
        "docs/operator.md",
        "docs/metrics.md",
        "docs/webhooks.md",
    ] {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            assert!(
                path.parent().unwrap().join(target).exists(),
                "{document} links to {target}"
            );
        }
    }
}
