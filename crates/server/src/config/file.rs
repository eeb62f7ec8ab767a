//! The file of `--config`: TOML with the command line's options by their names, and a table `[settings]` of Kafka's settings.
//!
//! ```toml
//! listen = "127.0.0.1:9092"
//! wal = ["file:///nvme/wal", "bulk=storage"]      # or one value
//! memory = "1GiB"
//!
//! [settings]
//! "num.partitions" = 8
//! log.retention.hours = 24      # the same as "log.retention.hours"
//! ```

use super::{ConfigError, Layer};
use broker::settings::nearest;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

const OPTIONS: [&str; 13] = [
    "data",
    "storage",
    "wal",
    "listen",
    "console",
    "advertise",
    "node-id",
    "memory",
    "prices",
    "watch-timeout",
    "watch-interval",
    "allow-anonymous",
    "settings",
];

pub(super) fn read(path: &Path) -> Result<Layer, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError(format!("--config {}: {error}", path.display())))?;
    parse(&text).map_err(|why| ConfigError(format!("--config {}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Layer, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| one_line(text, &error))?;
    let mut layer = Layer::default();
    for (name, value) in table {
        match name.as_str() {
            "data" => layer.data = Some(scalar(&name, &value)?.into()),
            "storage" => layer.storage = Some(scalar(&name, &value)?),
            "wal" => layer.wals = one_or_several(&name, &value)?,
            "listen" => layer.listen = Some(scalar(&name, &value)?),
            "console" => layer.console = Some(scalar(&name, &value)?),
            "advertise" => layer.advertise = Some(scalar(&name, &value)?),
            "node-id" => layer.node_id = Some(scalar(&name, &value)?),
            "memory" => layer.memory = Some(scalar(&name, &value)?),
            "prices" => layer.prices = Some(scalar(&name, &value)?),
            "watch-timeout" => layer.watch_timeout = Some(scalar(&name, &value)?),
            "watch-interval" => layer.watch_interval = Some(scalar(&name, &value)?),
            "allow-anonymous" => {
                layer.allow_anonymous = Some(value.as_bool().ok_or("allow-anonymous: write true or false")?);
            }
            "settings" => {
                let Value::Table(settings) = value else {
                    return Err("settings: write a table, [settings]".to_owned());
                };
                flatten("", &settings, &mut layer.settings)?;
            }
            unknown => {
                let hint = nearest(unknown, OPTIONS).map_or_else(
                    || {
                        "options have the command line's names; Kafka's settings stand in the table [settings]"
                            .to_owned()
                    },
                    |close| format!("did you mean {close}?"),
                );
                return Err(format!("unknown option {unknown}: {hint}"));
            }
        }
    }
    Ok(layer)
}

/// TOML reads `log.retention.ms = 5` as tables in tables.
fn flatten(prefix: &str, table: &Table, to: &mut BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, to)?,
            other => {
                let text = scalar(&name, other)?;
                if to.insert(name.clone(), text).is_some() {
                    return Err(format!("{name} is there twice"));
                }
            }
        }
    }
    Ok(())
}

/// An option that may be repeated on the command line.
fn one_or_several(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) if values.is_empty() => Err(format!("{name}: write at least one value")),
        Value::Array(values) => values.iter().map(|value| scalar(name, value)).collect(),
        one => Ok(vec![scalar(name, one)?]),
    }
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => Err(format!("{name}: write one value")),
    }
}

fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let what = error.message().replace('\n', ", ");
    let advice = if what.contains("duplicate") {
        "write it once"
    } else {
        "the file is TOML: write NAME = \"TEXT\", NAME = 5 or NAME = true, and [settings] above Kafka's settings"
    };
    format!("line {line}: {what}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options_and_settings_in_both_forms() {
        let layer = parse(
            "listen = \"127.0.0.1:1\"\nnode-id = 3\nallow-anonymous = true\n[settings]\n\"num.partitions\" = 8\nlog.retention.ms = 5\n",
        );
        let layer = layer.unwrap();
        assert_eq!(layer.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(layer.node_id.as_deref(), Some("3"));
        assert_eq!(layer.allow_anonymous, Some(true));
        let settings: Vec<_> = layer.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("log.retention.ms", "5"), ("num.partitions", "8")]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(parse("wal = \"storage\"").unwrap().wals, ["storage"]);
        assert_eq!(parse("wal = [\"file:///w\", \"bulk=storage\"]").unwrap().wals, ["file:///w", "bulk=storage"]);
        assert!(parse("wal = []").unwrap_err().contains("at least one"));
        assert_eq!(parse("lisen = \"x\"").unwrap_err(), "unknown option lisen: did you mean listen?");
        assert!(parse("data = [1]").unwrap_err().contains("write one value"));
        assert!(parse("settings = 3").is_err());
        let broken = parse("memory = \"1GiB\"\nlisten = ").unwrap_err();
        assert!(broken.starts_with("line 2: ") && broken.contains("write NAME = \"TEXT\""), "{broken}");
        let twice = parse("listen = \"a:1\"\nlisten = \"a:1\"").unwrap_err();
        assert!(twice.starts_with("line 2: ") && twice.ends_with("write it once"), "{twice}");
        assert!(parse("[settings]\na.b = 1\n\"a.b\" = 2").unwrap_err().contains("twice"));
    }
}
