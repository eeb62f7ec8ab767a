//! `cargo xtask codegen`: Kafka's message definitions in, the Rust of `crates/protocol/src/messages` out.
//!
//! The definitions lie in the `kafka-clients` jars as JSON with comments. [`NEWEST`] defines what there is; [`OLDER`] adds the
//! versions that Kafka 4 dropped. `schema` reads and merges them, `emit` writes the Rust. The Rust is committed; the definitions
//! and their prose are not, so this is run by whoever takes over a new Kafka release, and by nothing else.

mod emit;
mod names;
mod schema;

use anyhow::{Context, Result, bail, ensure};
use schema::{Definition, Message};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Kafka release whose definitions count.
const NEWEST: &str = "4.4.0";
/// The last release that still defines the versions that Kafka 4 dropped (KIP-896).
const OLDER: &str = "3.9.1";

/// The command's arguments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that holds `kafka-clients-4.4.0.jar` and `kafka-clients-3.9.1.jar`; without it Maven fetches them.
    #[arg(long)]
    jars: Option<PathBuf>,
}

/// Writes the generated modules into the repository at `root`.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut older = read_definitions(&extract(root, arguments, OLDER)?)?;
    let mut messages = Vec::new();
    for (name, newest) in read_definitions(&extract(root, arguments, NEWEST)?)? {
        let message = Message::merge(newest, older.remove(&name)).with_context(|| format!("in {name}"))?;
        // Headers are written by hand, in frame.rs: decoding one is what tells how to decode everything else.
        messages.extend(message.filter(|message| message.kind != schema::Kind::Header));
    }
    let folder = root.join("crates/protocol/src/messages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut files =
        emit::modules(&messages).into_iter().map(|(name, text)| (folder.join(name), text)).collect::<Vec<_>>();
    files.push((root.join("crates/protocol/src/api_key.rs"), emit::api_keys(&messages)?));
    for (path, text) in &files {
        fs::write(path, text)?;
    }
    format(root, files.iter().map(|(path, _)| path.as_path()))?;
    println!("{} messages written to {}", messages.len(), folder.display());
    Ok(())
}

/// The folder of definitions inside the jar of `release`, unpacked below `target`.
fn extract(root: &Path, arguments: &Arguments, release: &str) -> Result<PathBuf> {
    let name = format!("kafka-clients-{release}.jar");
    let jar = match &arguments.jars {
        Some(folder) => fs::canonicalize(folder)?.join(name),
        None => fetch(release)?.join(name),
    };
    ensure!(jar.is_file(), "{} is missing", jar.display());
    let folder = root.join("target/codegen").join(release);
    fs::create_dir_all(&folder)?;
    execute(Command::new("jar").arg("xf").arg(jar).arg("common/message").current_dir(&folder))?;
    Ok(folder.join("common/message"))
}

/// Has Maven put the jar of `release` into its local repository, and says in which folder.
fn fetch(release: &str) -> Result<PathBuf> {
    let artifact = format!("-Dartifact=org.apache.kafka:kafka-clients:{release}");
    execute(Command::new("mvn").args(["-q", "dependency:get", &artifact, "-Dtransitive=false"]))?;
    let home = std::env::home_dir().context("there is no home folder to hold Maven's repository")?;
    Ok(home.join(".m2/repository/org/apache/kafka/kafka-clients").join(release))
}

fn read_definitions(folder: &Path) -> Result<BTreeMap<String, Definition>> {
    let mut definitions = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let definition =
                Definition::parse(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
            definitions.insert(definition.name.clone(), definition);
        }
    }
    share_stability(&mut definitions);
    Ok(definitions)
}

/// Lets a response be as stable as its request, where alone the definitions tell it.
fn share_stability(definitions: &mut BTreeMap<String, Definition>) {
    let unstable: Vec<_> = definitions
        .values()
        .filter(|it| it.latest_version_unstable)
        .map(|it| (it.api_key, it.valid_versions.clone()))
        .collect();
    for definition in definitions.values_mut() {
        definition.latest_version_unstable |=
            unstable.contains(&(definition.api_key, definition.valid_versions.clone()));
    }
}

fn format<'a>(root: &Path, files: impl Iterator<Item = &'a Path>) -> Result<()> {
    execute(Command::new("rustfmt").args(["--edition", "2024", "--config-path"]).arg(root).args(files))
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("can't run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} failed: {status}", command.get_program().display());
    }
    Ok(())
}
