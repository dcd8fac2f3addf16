//! Links between pages.

use std::collections::BTreeSet;
use std::fs;

use super::markdown::{pages, prose, root};

/// Returns the anchors that a page's headings make.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
        kept.map(|sign| if sign == ' ' { '-' } else { sign })
            .collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let pages = pages(&root());
    assert!(pages.len() > 40, "{pages:?}");
    let mut broken = Vec::new();
    for path in &pages {
        let text = fs::read_to_string(path).unwrap();
        let prose: Vec<&str> = prose(&text).collect();
        let prose = prose.join("\n");
        let targets = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let is_found = match anchor {
                "" => linked.exists(),
                anchor => {
                    fs::read_to_string(&linked).is_ok_and(|text| anchors(&text).contains(anchor))
                }
            };
            if !is_found {
                broken.push(format!("{} links to {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_index_names_every_page() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let docs = root().join("docs");
    for path in pages(&docs) {
        let name = path.strip_prefix(&docs).unwrap().to_str().unwrap();
        let is_listed_elsewhere =
            name == "README.md" || name.starts_with("contributing/decisions/");
        assert!(
            is_listed_elsewhere || index.contains(&format!("]({name})")),
            "docs/README.md lacks {name}"
        );
    }
}
