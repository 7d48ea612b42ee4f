//! The rules of this repository that a machine can check: the crate graph, the layout, the pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines: one noun a file.
const FILE_LINES_MAX: usize = 600;

/// Longest line of code, in characters.
const LINE_CHARS_MAX: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder that git does not ignore and whose name ends so, sorted.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "target" && name != "proptest-regressions" {
                folders.push(path);
            } else if path.is_file() && name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Crates of ours that a manifest names under `[dependencies]`.
fn dependencies_of_ours(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("\n[dependencies]").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section
        .lines()
        .filter_map(|line| line.split(['=', ' ', '.']).next())
        .filter_map(|name| name.strip_prefix("tidings-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_root_holds_what_it_should_and_nothing_else() {
    let allowed = [
        "Cargo.lock",
        "Cargo.toml",
        "Dockerfile",
        "LICENSE",
        "README.md",
        "crates",
        "disks",
        "docs",
        "target",
        "tests",
        "rust-toolchain.toml",
    ];
    let strangers: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !allowed.contains(&name.as_str()))
        .collect();
    assert_eq!(strangers, Vec::<String>::new());
}

#[test]
fn crates_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("s3", &[][..]),
        ("iam", &[][..]),
        ("store", &[][..]),
        ("drives", &["store"][..]),
        ("notify", &["store"][..]),
        ("gateway", &["iam", "notify", "s3", "store"][..]),
        ("tidings", &["drives", "gateway", "iam", "notify", "s3", "store"][..]),
    ]);
    let crates: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(crates, allowed.keys().map(|name| (*name).to_owned()).collect());
    for (name, below) in allowed {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        let used = dependencies_of_ours(&manifest);
        let upwards: Vec<&String> = used.iter().filter(|used| !below.contains(&used.as_str())).collect();
        assert_eq!(upwards, Vec::<&String>::new(), "{name} may not depend on these");
    }
}

#[test]
fn heavy_dependencies_stay_in_the_crate_that_confines_them() {
    let confined: [(&str, &[&str]); 16] = [
        ("quick-xml", &["s3"]),
        ("md-5", &["s3"]),
        ("crc-fast", &["s3", "drives"]),
        ("reed-solomon-erasure", &["drives"]),
        ("io-uring", &["drives"]),
        ("rdkafka", &["notify"]),
        ("rumqttc", &["notify"]),
        ("reqwest", &["notify", "tidings"]),
        ("async-nats", &["notify"]),
        ("highway", &["notify"]),
        ("lapin", &["notify"]),
        ("mysql_async", &["notify"]),
        ("redis", &["notify"]),
        ("tokio-postgres", &["notify"]),
        ("argon2", &["gateway"]),
        ("clap", &["tidings"]),
    ];
    for manifest in files("crates", "Cargo.toml") {
        let text = read(&manifest);
        let own = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let dependencies =
            text.split("\n[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        for (dependency, homes) in confined {
            let is_named =
                dependencies.lines().any(|line| line.split([' ', '=', '.']).next() == Some(dependency));
            assert!(
                !is_named || homes.contains(&own.as_str()),
                "{own} names {dependency}, which {homes:?} confine"
            );
        }
    }
}

#[test]
fn a_pure_crate_names_no_runtime() {
    for name in ["s3", "iam", "store"] {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        let dependencies =
            manifest.split("\n[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        for runtime in ["tokio", "hyper", "http", "reqwest"] {
            let is_named =
                dependencies.lines().any(|line| line.split([' ', '=', '.']).next() == Some(runtime));
            assert!(!is_named, "{name} names {runtime}");
        }
    }
}

#[test]
fn every_source_file_begins_with_a_header_and_is_not_too_long() {
    let mut faults = Vec::new();
    for path in files("crates", ".rs").into_iter().chain(files("tests", ".rs")) {
        let text = read(&path);
        let is_generated = shown(&path).contains("/data/");
        if !is_generated && !text.starts_with("//!") {
            faults.push(format!("{} has no header", shown(&path)));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{} has {lines} lines, more than {FILE_LINES_MAX}", shown(&path)));
        }
        for (number, line) in text.lines().enumerate() {
            // A text is one line whatever its length; the formatter keeps the rest of the code short.
            let is_data = line.contains('"');
            if line.chars().count() > LINE_CHARS_MAX && !is_data {
                faults.push(format!("{}:{} is longer than {LINE_CHARS_MAX}", shown(&path), number + 1));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn every_source_file_is_reachable_from_its_crate() {
    let mut lost = Vec::new();
    for path in files("crates", ".rs") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        let is_test_of_its_own = folder.file_name().is_some_and(|folder| folder == "tests")
            && folder.parent().is_some_and(|parent| parent.join("Cargo.toml").is_file());
        let is_root = ["lib", "main", "build"].contains(&name)
            || is_test_of_its_own
            || shown(&path).contains("/benches/");
        if is_root || shown(&path).contains("/tests/data/") {
            continue;
        }
        let (module, home) = if name == "mod" {
            (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder.parent().unwrap())
        } else {
            (name.to_owned(), folder)
        };
        let beside = home.with_extension("rs");
        let parents = [home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), beside];
        let named = [format!("mod {module};"), format!("\"{name}.rs\"")];
        let is_named = parents.iter().filter(|parent| parent.is_file()).any(|parent| {
            let text = read(parent);
            named.iter().any(|way| text.contains(way.as_str()))
                || text.contains("macro_rules!") && text.contains(&module)
                || text.lines().any(|line| line.trim().trim_end_matches(',') == module)
        });
        if !is_named {
            lost.push(shown(&path));
        }
    }
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let marks = [
        "todo".to_owned() + "!(",
        "unimplemented".to_owned() + "!(",
        "FIX".to_owned() + "ME",
        "XX".to_owned() + "X ",
    ];
    let mut found = Vec::new();
    for path in files("crates", ".rs").into_iter().chain(files("tests", ".rs")) {
        let text = read(&path);
        found.extend(
            marks
                .iter()
                .filter(|mark| text.contains(mark.as_str()))
                .map(|mark| format!("{}: {mark}", shown(&path))),
        );
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    let mut dead = Vec::new();
    for page in files("docs", ".md").into_iter().chain([root().join("README.md")]) {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or("");
            let is_outside = target.contains("://") || path.is_empty() || target.contains(' ');
            if !is_outside && !page.parent().unwrap().join(path).exists() {
                dead.push(format!("{}: {target}", shown(&page)));
            }
        }
    }
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn every_page_of_the_documentation_is_in_its_index() {
    let index = read(&root().join("docs/README.md"));
    let missing: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md" && !index.contains(&format!("]({name}")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn each_dependency_has_one_version_in_alphabetical_order() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = section
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with("tidings") && !line.starts_with('#'))
        .map(|line| line.split([' ', '=']).next().unwrap())
        .collect();
    assert!(names.is_sorted(), "not in alphabetical order: {names:?}");
    for manifest in files("crates", "Cargo.toml") {
        let text = read(&manifest);
        let stray: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.contains("dependencies]"))
            .filter(|line| line.contains("version =") || line.contains("= \""))
            .filter(|line| {
                !line.contains("path =") && !line.starts_with("name =") && !line.starts_with("harness")
            })
            .collect();
        assert_eq!(stray, Vec::<&str>::new(), "{} states versions of its own", shown(&manifest));
    }
}
