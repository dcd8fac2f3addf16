//! Structure of the sources: allowed dependencies between modules, and no circle between the children of any
//! folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemUse, Macro, UseTree};

/// Top-level modules of the server, with the modules that each may use. `main.rs` and `lib.rs` only declare them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("backup", &["crypto", "store"]),
    (
        "calls",
        &[
            "crypto",
            "destinations",
            "limits",
            "metrics",
            "numbering",
            "prompt_file",
            "store",
            "supervision",
        ],
    ),
    (
        "cli",
        &[
            "backup",
            "calls",
            "config",
            "crypto",
            "destinations",
            "doctor",
            "http",
            "limits",
            "metrics",
            "recordings",
            "server",
            "store",
            "supervision",
        ],
    ),
    (
        "config",
        &["calls", "crypto", "destinations", "recordings", "store"],
    ),
    ("crypto", &[]),
    ("destinations", &[]),
    (
        "doctor",
        &[
            "calls",
            "config",
            "crypto",
            "recordings",
            "server",
            "store",
            "webhooks",
        ],
    ),
    (
        "http",
        &[
            "calls",
            "config",
            "crypto",
            "destinations",
            "limits",
            "metrics",
            "numbering",
            "prompt_file",
            "recordings",
            "store",
            "supervision",
            "webhooks",
        ],
    ),
    ("limits", &[]),
    ("metrics", &[]),
    ("numbering", &[]),
    ("prompt_file", &[]),
    ("recordings", &["crypto", "limits", "metrics", "store"]),
    (
        "server",
        &[
            "calls",
            "config",
            "crypto",
            "http",
            "metrics",
            "recordings",
            "store",
            "supervision",
            "webhooks",
        ],
    ),
    (
        "store",
        &[
            "crypto",
            "destinations",
            "metrics",
            "numbering",
            "supervision",
        ],
    ),
    ("supervision", &["metrics"]),
    (
        "webhooks",
        &["crypto", "limits", "metrics", "store", "supervision"],
    ),
];

/// Libraries forbidden in a folder.
const FORBIDDEN_LIBRARIES: &[(&str, &[&str])] = &[
    (
        "src/calls",
        &["axum", "reqwest", "rusqlite", "tokio_postgres"],
    ),
    ("src/config", &["axum", "media", "rusqlite"]),
    (
        "src/http",
        &["media", "rusqlite", "signalling", "tokio_postgres"],
    ),
    (
        "src/recordings",
        &["axum", "media", "rusqlite", "signalling", "tokio_postgres"],
    ),
    ("src/store", &["axum", "media", "signalling"]),
    (
        "src/webhooks",
        &["axum", "media", "rusqlite", "signalling", "tokio_postgres"],
    ),
    ("../call/src", &["media", "signalling", "tokio"]),
    ("../media/src", &["call", "signalling", "tokio"]),
    ("../signalling/src", &["call", "media", "tokio"]),
];

/// Names of the standard library forbidden in crates without input and output.
const FORBIDDEN_EFFECTS: &[(&str, &[&str])] = &[
    (
        "../call/src",
        &[
            "std::net",
            "std::io",
            "std::fs",
            "std::thread",
            "Instant::now",
            "SystemTime",
        ],
    ),
    (
        "../media/src",
        &[
            "std::net",
            "std::io",
            "std::fs",
            "std::thread",
            "Instant::now",
            "SystemTime",
        ],
    ),
    (
        "../signalling/src",
        &[
            "std::io",
            "std::fs",
            "std::thread",
            "UdpSocket",
            "Instant::now",
            "SystemTime",
        ],
    ),
];

/// Module path below the root of the crate, such as `["store", "core", "writer"]`.
type ModulePath = Vec<String>;

/// Source file: its module, and every path in its code outside of tests.
struct SourceFile {
    file: PathBuf,
    module: ModulePath,
    is_mod_file: bool,
    paths: Vec<Vec<String>>,
    items: BTreeSet<String>,
    reexports: Vec<Reexport>,
}

/// Name exported by `pub use self::child::Name`.
struct Reexport {
    name: String,
    path: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    files
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|argument| argument.is_ident("test"))
    })
}

/// Collects the paths of a file, without `#[cfg(test)]` items.
#[derive(Default)]
struct PathCollector {
    paths: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for PathCollector {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test_only(&function.attrs) {
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        if !is_test_only(&import.attrs) {
            self.paths.extend(leaves(&import.tree));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        collect_from_tokens(call.tokens.clone(), &mut self.paths);
        syn::visit::visit_macro(self, call);
    }
}

/// Collects `a::b::c` sequences from the tokens of a macro, because syn does not parse them.
fn collect_from_tokens(tokens: TokenStream, paths: &mut Vec<Vec<String>>) {
    let mut current: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 && !current.is_empty() {
                    paths.push(std::mem::take(&mut current));
                }
                current.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                paths.push(std::mem::take(&mut current));
                collect_from_tokens(group.stream(), paths);
                colons = 0;
            }
            _ => {
                paths.push(std::mem::take(&mut current));
                colons = 0;
            }
        }
    }
    paths.push(current);
    paths.retain(|path| path.len() > 1);
}

fn leaves(tree: &UseTree) -> Vec<Vec<String>> {
    let prefixed = |name: String, rest: Vec<Vec<String>>| {
        rest.into_iter()
            .map(|leaf| std::iter::once(name.clone()).chain(leaf).collect())
            .collect()
    };
    match tree {
        UseTree::Path(path) => prefixed(path.ident.to_string(), leaves(&path.tree)),
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        UseTree::Glob(_) => vec![vec!["*".to_owned()]],
    }
}

fn item_name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Returns the sources of the server, without test files.
fn sources() -> Vec<SourceFile> {
    let folder = root().join("src");
    let files = rust_files(&folder);
    let modules = files.iter().filter(|file| {
        let path = file.strip_prefix(&folder).unwrap();
        !path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
    });
    modules.map(|file| source(&folder, file)).collect()
}

fn source(folder: &Path, file: &Path) -> SourceFile {
    let parsed = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
    let relative = file.strip_prefix(folder).unwrap().with_extension("");
    let mut module: ModulePath = relative
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_mod_file = matches!(module.last().unwrap().as_str(), "mod" | "lib" | "main");
    if is_mod_file {
        module.pop();
    }
    let mut collector = PathCollector::default();
    collector.visit_file(&parsed);
    let reexports = parsed.items.iter().filter_map(|item| match item {
        Item::Use(import) if !matches!(import.vis, syn::Visibility::Inherited) => {
            Some(leaves(&import.tree))
        }
        _ => None,
    });
    let reexports = reexports.flatten().map(|path| Reexport {
        name: path.last().unwrap().clone(),
        path,
    });
    SourceFile {
        file: file.to_owned(),
        is_mod_file,
        paths: collector.paths,
        items: parsed.items.iter().filter_map(item_name).collect(),
        reexports: reexports.collect(),
        module,
    }
}

/// Resolves a path of a file to an absolute path below the root of the crate. Returns `None` for other crates.
fn absolute(source: &SourceFile, path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "$crate" => Some(rest.to_vec()),
        "self" => Some([source.module.as_slice(), rest].concat()),
        "super" => {
            let mut module = source.module.clone();
            let mut rest = path;
            while let Some(("super", more)) = rest
                .split_first()
                .map(|(first, more)| (first.as_str(), more))
            {
                module.pop()?;
                rest = more;
            }
            Some([module.as_slice(), rest].concat())
        }
        _ => None,
    }
}

/// Finds the child of a folder with the definition of a name exported by the folder's `mod.rs`.
fn exporting_child(sources: &[SourceFile], folder: &[String], name: &str) -> Option<String> {
    let mod_file = sources
        .iter()
        .find(|source| source.is_mod_file && source.module == folder)?;
    if mod_file.items.contains(name) {
        return None;
    }
    let is_child = |child: &str| {
        sources.iter().any(|source| {
            source.module.len() > folder.len()
                && source.module.starts_with(folder)
                && source.module[folder.len()] == child
        })
    };
    let defines = |child: &str| {
        let module: ModulePath = folder.iter().cloned().chain([child.to_owned()]).collect();
        sources
            .iter()
            .any(|source| source.module == module && source.items.contains(name))
    };
    mod_file.reexports.iter().find_map(|reexport| {
        let path = if reexport.path[0] == "self" {
            &reexport.path[1..]
        } else {
            &reexport.path[..]
        };
        let child = path.first()?;
        let names_it = reexport.name == name || (reexport.name == "*" && defines(child));
        (is_child(child) && names_it).then(|| child.clone())
    })
}

/// Edges between the children of each folder, with one file as evidence for each.
type Edges = BTreeMap<ModulePath, BTreeMap<(String, String), String>>;

fn edges(sources: &[SourceFile]) -> Edges {
    let mut edges = Edges::new();
    for source in sources {
        for target in source
            .paths
            .iter()
            .filter_map(|path| absolute(source, path))
        {
            let depth = source
                .module
                .iter()
                .zip(&target)
                .take_while(|(ours, theirs)| ours == theirs)
                .count();
            let folder = &source.module[..depth];
            // A folder's own `mod.rs` connects its children, so it is not an edge.
            let (Some(from), Some(name)) = (source.module.get(depth), target.get(depth)) else {
                continue;
            };
            let is_child = sources.iter().any(|other| {
                other.module.len() > depth
                    && other.module.starts_with(folder)
                    && other.module[depth] == *name
            });
            let to = if is_child {
                Some(name.clone())
            } else {
                exporting_child(sources, folder, name)
            };
            if let Some(to) = to.filter(|to| to != from) {
                edges
                    .entry(folder.to_vec())
                    .or_default()
                    .entry((from.clone(), to))
                    .or_insert_with(|| {
                        source
                            .file
                            .strip_prefix(root())
                            .unwrap()
                            .display()
                            .to_string()
                    });
            }
        }
    }
    edges
}

/// Returns the edges of a circle in order, if there is one.
fn circle(edges: &BTreeMap<(String, String), String>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        edges: &BTreeMap<(String, String), String>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|visited| visited == node) {
            let mut found = path[start..].to_vec();
            found.push(node.to_owned());
            return Some(found);
        }
        if done.contains(node) {
            return None;
        }
        path.push(node.to_owned());
        for (_, to) in edges.keys().filter(|(from, _)| from == node) {
            if let Some(found) = visit(to, edges, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done.insert(node.to_owned());
        None
    }
    let mut done = BTreeSet::new();
    edges
        .keys()
        .find_map(|(from, _)| visit(from, edges, &mut Vec::new(), &mut done))
}

#[test]
fn every_module_uses_only_what_the_architecture_allows() {
    let sources = sources();
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let top: BTreeSet<&str> = sources
        .iter()
        .filter_map(|source| source.module.first())
        .map(String::as_str)
        .collect();
    assert_eq!(
        top,
        allowed.keys().copied().collect(),
        "the table names every top-level module"
    );
    let edges = edges(&sources);
    for ((from, to), file) in &edges[&Vec::new()] {
        assert!(
            allowed[from.as_str()].contains(&to.as_str()),
            "{file}: {from} must not use {to}"
        );
    }
}

#[test]
fn no_circle_of_uses_exists_between_the_children_of_any_folder() {
    for (folder, edges) in edges(&sources()) {
        if let Some(circle) = circle(&edges) {
            let steps = circle.windows(2).map(|step| {
                let file = &edges[&(step[0].clone(), step[1].clone())];
                format!("{} uses {} in {file}", step[0], step[1])
            });
            panic!(
                "circle in {}: {}",
                folder.join("/"),
                steps.collect::<Vec<_>>().join(", ")
            );
        }
    }
}

#[test]
fn the_core_of_the_store_knows_no_resource() {
    for ((from, to), file) in &edges(&sources())[&vec!["store".to_owned()]] {
        assert!(from != "core", "{file}: core must not use {to}");
    }
}

/// Returns the code of a file up to its tests, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn no_folder_names_a_library_forbidden_to_it() {
    for (folder, libraries) in FORBIDDEN_LIBRARIES {
        let files = rust_files(&root().join(folder));
        assert!(!files.is_empty(), "{folder} is empty");
        for file in files {
            let mut collector = PathCollector::default();
            collector.visit_file(&syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap());
            // A single name is a variable. A name imported by `use` is one of our modules.
            let local: BTreeSet<String> = collector
                .paths
                .iter()
                .filter(|path| matches!(path[0].as_str(), "crate" | "super" | "self"))
                .filter_map(|path| path.last().cloned())
                .collect();
            let paths = collector.paths.iter().filter(|path| path.len() > 1);
            for path in paths.filter(|path| !local.contains(&path[0])) {
                assert!(
                    !libraries.contains(&path[0].as_str()),
                    "{} uses {}",
                    file.display(),
                    path.join("::")
                );
            }
        }
    }
}

#[test]
fn the_pure_crates_use_neither_input_nor_output_nor_a_clock() {
    for (folder, names) in FORBIDDEN_EFFECTS {
        for file in rust_files(&root().join(folder)) {
            let code = code(&file);
            for name in *names {
                assert!(!code.contains(name), "{} uses {name}", file.display());
            }
        }
    }
}

#[test]
fn one_module_of_the_signalling_names_the_sip_library() {
    for path in rust_files(&root().join("../signalling/src")) {
        let names = code(&path).contains("sipx_sip");
        assert_eq!(names, path.ends_with("sip.rs"), "{}", path.display());
    }
}

#[test]
fn every_route_comes_with_its_document() {
    let files = rust_files(&root().join("src/http")).into_iter();
    // The routes of the console are no part of the API.
    let console = root().join("src/http/console");
    for path in files.filter(|path| !path.ends_with("tests.rs") && !path.starts_with(&console)) {
        // `routes!` accepts only documented handlers.
        assert!(
            !code(&path).contains(".route("),
            "{} has a route without a document",
            path.display()
        );
    }
}
