//! The message definitions: parsed, and those of two releases merged into one.
//!
//! The newest release decides for the versions that it knows. The older one decides for those that only it knows: a field there
//! that the newest lacks is kept for these versions. Everything else that differs is an error rather than a guess.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// A range of versions, both ends included. Empty where `first > last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Versions {
    pub(super) first: i16,
    pub(super) last: i16,
}

impl Versions {
    pub(super) const NONE: Versions = Versions { first: 0, last: -1 };

    /// `none`, `3`, `0-4` or `2+`.
    fn parse(text: &str) -> Result<Versions> {
        let number = |text: &str| text.parse::<i16>().with_context(|| format!("{text:?} is not a version"));
        Ok(match (text, text.split_once('-')) {
            ("none", _) => Versions::NONE,
            (_, Some((first, last))) => Versions { first: number(first)?, last: number(last)? },
            (_, None) => match text.strip_suffix('+') {
                Some(first) => Versions { first: number(first)?, last: i16::MAX },
                None => Versions { first: number(text)?, last: number(text)? },
            },
        })
    }

    pub(super) fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub(super) fn and(self, other: Versions) -> Versions {
        let both = Versions { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// The versions in either; an error where that leaves a gap.
    fn or(self, other: Versions) -> Result<Versions> {
        if self.is_empty() || other.is_empty() {
            return Ok(if self.is_empty() { other } else { self });
        }
        let (low, high) = if self.first <= other.first { (self, other) } else { (other, self) };
        ensure!(high.first <= low.last.saturating_add(1), "{self} and {other} leave a gap");
        Ok(Versions { first: low.first, last: low.last.max(high.last) })
    }

    pub(super) fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(super) fn each(self) -> impl Iterator<Item = i16> {
        self.first..=self.last
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Request,
    Response,
    Header,
    Data,
}

/// A definition as it stands in a jar.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Definition {
    pub(super) api_key: Option<i16>,
    #[serde(rename = "type")]
    kind: Kind,
    pub(super) name: String,
    pub(super) valid_versions: String,
    #[serde(default)]
    pub(super) latest_version_unstable: bool,
    flexible_versions: Option<String>,
    #[serde(default)]
    fields: Vec<RawField>,
    #[serde(default)]
    common_structs: Vec<RawStructure>,
}

#[derive(Deserialize)]
struct RawStructure {
    name: String,
    fields: Vec<RawField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    versions: String,
    nullable_versions: Option<String>,
    tagged_versions: Option<String>,
    flexible_versions: Option<String>,
    tag: Option<Value>,
    default: Option<Value>,
    #[serde(default)]
    ignorable: bool,
    #[serde(default)]
    fields: Vec<RawField>,
}

impl Definition {
    /// Reads JSON that has `//` comments.
    pub(super) fn parse(text: &str) -> Result<Definition> {
        // By way of `Value`, because some definitions say a thing twice, which only that lets pass.
        let value: Value = serde_json::from_str(&without_comments(text))?;
        Ok(serde_json::from_value(value)?)
    }

    fn versions(&self) -> Result<Versions> {
        let mut versions = Versions::parse(&self.valid_versions)?;
        if self.latest_version_unstable {
            versions.last -= 1;
        }
        Ok(versions)
    }
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut before = ' ';
        let mut end = line.len();
        for (at, letter) in line.char_indices() {
            match letter {
                '"' if before != '\\' => in_string = !in_string,
                '/' if before == '/' && !in_string => {
                    end = at - 1;
                    break;
                }
                _ => {}
            }
            before = letter;
        }
        kept.push_str(&line[..end]);
        kept.push('\n');
    }
    kept
}

/// A message with all versions of both releases.
pub(super) struct Message {
    pub(super) api_key: Option<i16>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) versions: Versions,
    /// The first flexible version.
    pub(super) flexible_from: Option<i16>,
    /// The message itself first, then the structures that it is made of, each once.
    pub(super) structures: Vec<Structure>,
}

pub(super) struct Structure {
    pub(super) name: String,
    /// The versions of the message in which the structure can occur.
    pub(super) versions: Versions,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) versions: Versions,
    pub(super) nullable: Versions,
    /// The tag, where the field is tagged in all its versions.
    pub(super) tag: Option<u32>,
    pub(super) default: Option<String>,
    pub(super) ignorable: bool,
    /// The fields of a structure that is defined in place.
    fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Bool,
    /// Its Rust name, and its bytes.
    Number(&'static str, usize),
    Float,
    Uuid,
    String,
    Bytes,
    Records,
    Structure(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Type {
        match text {
            "bool" => Type::Bool,
            "int8" => Type::Number("i8", 1),
            "int16" => Type::Number("i16", 2),
            "uint16" => Type::Number("u16", 2),
            "int32" => Type::Number("i32", 4),
            "uint32" => Type::Number("u32", 4),
            "int64" => Type::Number("i64", 8),
            "float64" => Type::Float,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Type::Array(Box::new(Type::parse(element))),
                None => Type::Structure(text.to_owned()),
            },
        }
    }

    /// The structure that this is, or is an array of.
    pub(super) fn structure(&self) -> Option<&str> {
        match self {
            Type::Structure(name) => Some(name),
            Type::Array(element) => element.structure(),
            _ => None,
        }
    }
}

impl Message {
    /// One message from its newest definition and, for the versions that only that has, an older one. `None` where the newest
    /// release dropped the whole message: those were never for clients.
    pub(super) fn merge(newest: Definition, older: Option<Definition>) -> Result<Option<Message>> {
        let known = newest.versions()?;
        if known.is_empty() {
            return Ok(None);
        }
        let mut versions = known;
        let mut older_fields = Vec::new();
        let mut older_common = Vec::new();
        if let Some(older) = older {
            let dropped = older.versions()?.and(Versions { first: 0, last: known.first - 1 });
            if !dropped.is_empty() {
                ensure!(
                    newest.api_key == older.api_key && newest.flexible_versions == older.flexible_versions,
                    "unlike"
                );
                versions = known.or(dropped)?;
                older_fields = parse_fields(&older.fields, dropped)?;
                older_common = parse_structures(&older.common_structs, dropped)?;
            }
        }
        let fields = merge_fields(parse_fields(&newest.fields, known)?, older_fields)?;
        let common = parse_structures(&newest.common_structs, known)?;
        ensure!(
            older_common.iter().all(|(old, _)| common.iter().any(|(new, _)| old == new)),
            "a common structure was dropped"
        );
        let mut merged = Vec::new();
        for (name, fields) in common {
            let at = older_common.iter().position(|(old, _)| *old == name);
            let older = at.map(|at| older_common.swap_remove(at).1).unwrap_or_default();
            merged.push((name, merge_fields(fields, older)?));
        }
        let flexible = Versions::parse(newest.flexible_versions.as_deref().unwrap_or("none"))?;
        let mut structures = Vec::new();
        collect(&newest.name, versions, fields, &merged, &mut structures)?;
        Ok(Some(Message {
            api_key: newest.api_key,
            kind: newest.kind,
            name: newest.name,
            versions,
            flexible_from: (!flexible.is_empty() && flexible.first <= versions.last).then_some(flexible.first),
            structures,
        }))
    }

    pub(super) fn structure(&self, name: &str) -> &Structure {
        self.structures.iter().find(|structure| structure.name == name).expect("collect() found every structure")
    }
}

fn parse_structures(raw: &[RawStructure], within: Versions) -> Result<Vec<(String, Vec<Field>)>> {
    raw.iter().map(|raw| Ok((raw.name.clone(), parse_fields(&raw.fields, within)?))).collect()
}

/// The fields that occur in any version of `within`, each cut down to these versions.
fn parse_fields(raw: &[RawField], within: Versions) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    for raw in raw {
        let versions = Versions::parse(&raw.versions)?.and(within);
        if versions.is_empty() {
            continue;
        }
        let range = |text: &Option<String>| text.as_deref().map_or(Ok(Versions::NONE), Versions::parse);
        let tagged = range(&raw.tagged_versions)?.and(versions);
        ensure!(tagged.is_empty() || tagged == versions, "{} is tagged in only some of its versions", raw.name);
        // Kafka uses this for the header's client id only, and headers aren't generated.
        ensure!(
            raw.flexible_versions.is_none() || raw.name == "ClientId",
            "{} has its own flexible versions",
            raw.name
        );
        let tag = match &raw.tag {
            Some(tag) if !tagged.is_empty() => Some(plain(tag).parse()?),
            _ => None,
        };
        fields.push(Field {
            name: raw.name.clone(),
            kind: Type::parse(&raw.kind),
            versions,
            nullable: range(&raw.nullable_versions)?.and(versions),
            tag,
            default: raw.default.as_ref().map(plain),
            ignorable: raw.ignorable,
            fields: parse_fields(&raw.fields, versions)?,
        });
    }
    Ok(fields)
}

/// Definitions write a default as a string, a number or a truth value.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase()
}

fn merge_fields(newest: Vec<Field>, older: Vec<Field>) -> Result<Vec<Field>> {
    let mut merged = newest;
    // A field that only the older release has belongs behind the one that precedes it there.
    let mut behind = 0;
    for old in older {
        if let Some(at) = merged.iter().position(|field| field.name == old.name) {
            let new = &mut merged[at];
            ensure!(new.kind == old.kind && new.default == old.default && new.tag == old.tag, "{} differs", old.name);
            new.versions = new.versions.or(old.versions)?;
            new.nullable = new.nullable.or(old.nullable)?;
            new.fields = merge_fields(std::mem::take(&mut new.fields), old.fields)?;
            behind = at + 1;
        } else {
            merged.insert(behind, old);
            behind += 1;
        }
    }
    Ok(merged)
}

/// Adds a structure and all that it is made of; widens the versions of those that occur more than once.
fn collect(
    name: &str,
    versions: Versions,
    fields: Vec<Field>,
    common: &[(String, Vec<Field>)],
    structures: &mut Vec<Structure>,
) -> Result<()> {
    if let Some(structure) = structures.iter_mut().find(|structure| structure.name == name) {
        if !common.iter().any(|(common, _)| common == name) {
            bail!("two structures are called {name}");
        }
        structure.versions = structure.versions.or(versions)?;
        return Ok(());
    }
    let parts: Vec<_> = fields.iter().map(|field| (field.kind.clone(), field.versions, field.fields.clone())).collect();
    structures.push(Structure { name: name.to_owned(), versions, fields });
    for (kind, part_versions, part_fields) in parts {
        let Some(part) = kind.structure() else { continue };
        let shared = common.iter().find(|(common, _)| common == part);
        let part_fields = shared.map_or(part_fields, |(_, fields)| fields.clone());
        collect(part, part_versions, part_fields, common, structures)?;
    }
    Ok(())
}
