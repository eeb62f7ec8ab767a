//! The cores decide and do nothing else: held by what they can name (dependencies) and by what clippy forbids them.

use super::Complaints;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The crates that know no runtime, socket, file, clock or random source.
const CORES: [&str; 5] = ["base", "protocol", "stream-core", "control-core", "coordinator-core"];

/// All that a core may link, through however many others: checksums and digests (with comparisons in constant time, as the broker's
/// want them), compression, byte buffers, persistent maps, regular expressions, derive macros.
const ALLOWED: &str = "
    aho-corasick archery base block-buffer bytemuck bytes cfg-if cmov control-core coordinator-core crc-fast crypto-common ctutils digest equivalent
    flate2
    generic-array hybrid-array imbl imbl-sized-chunks lz4_flex md-5 memchr proc-macro2 protocol quote rand_core rand_xoshiro
    regex regex-automata regex-syntax safe_arch snap spin stream-core syn
    thiserror thiserror-impl twox-hash typenum unicode-ident version_check wide zlib-rs zstd zstd-safe zstd-sys
";

/// What each core's clippy.toml must forbid beyond the root's entries.
const CORE_BANS: [&str; 5] =
    ["std::time::Instant", "std::time::SystemTime", "std::thread::Builder", "std::thread::scope", "std::fs::File"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Absent for a normal dependency; `dev` and `build` ones are not linked.
    kind: Option<String>,
}

/// Surest of all is absence: a core that can't name tokio can't block, race or read a clock.
pub(crate) fn check_dependencies(root: &Path, complaints: &mut Complaints) -> Result<()> {
    let metadata = metadata(root)?;
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let allowed: BTreeSet<&str> = ALLOWED.split_whitespace().collect();
    for core in CORES {
        let id = names.iter().find(|(_, name)| **name == core).map(|(id, _)| *id);
        let id = id.with_context(|| format!("no crate {core} in the workspace"))?;
        for linked in linked_by(id, &nodes) {
            let name = names.get(linked).copied().unwrap_or(linked);
            if !allowed.contains(name) {
                complaints.add(format!(
                    "crate {core} links {name}: a core may link only what xtask's tidy/cores.rs allows, so that it stays free of I/O, clocks and threads"
                ));
            }
        }
    }
    Ok(())
}

fn linked_by<'a>(root: &'a str, nodes: &BTreeMap<&str, &'a Node>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([root]);
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if normal && seen.insert(dependency.pkg.as_str()) {
                waiting.push(dependency.pkg.as_str());
            }
        }
    }
    seen
}

fn metadata(root: &Path) -> Result<Metadata> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what cargo metadata says")
}

/// A nearer clippy.toml replaces the farther one: the root's entries must stand in each core's too.
pub(crate) fn check_bans(root: &Path, complaints: &mut Complaints) -> Result<()> {
    let shared = entries(&root.join("clippy.toml"))?;
    for core in CORES {
        let relative = format!("crates/{core}/clippy.toml");
        let own = entries(&root.join(&relative))?;
        for missing in shared.difference(&own) {
            complaints
                .add(format!("{relative} lacks the root's entry {missing}: a nearer clippy.toml replaces the root's"));
        }
        for ban in CORE_BANS {
            if !own.iter().any(|entry| entry.contains(&format!("\"{ban}\""))) {
                complaints.add(format!("{relative} does not forbid {ban}: a core has no clock, thread or file"));
            }
        }
    }
    Ok(())
}

/// Every setting and every element of every list, as text.
fn entries(path: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("parse {}", path.display()))?;
    let mut entries = BTreeSet::new();
    for (key, value) in &table {
        match value {
            toml::Value::Array(items) => entries.extend(items.iter().map(|item| format!("{key}: {item}"))),
            other => drop(entries.insert(format!("{key} = {other}"))),
        }
    }
    Ok(entries)
}
