//! One thing as a line: its name and facts, for people `group wal=3/0 bytes=4096`, for scripts a JSON object.

use super::super::{CommandError, say, say_json};
use base::OffsetRange;
use serde_json::{Map, Value, json};

/// How the lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller {
    pub(super) as_json: bool,
}

impl Teller {
    pub(super) fn tell(self, line: &Line) -> Result<(), CommandError> {
        if self.as_json { say_json(&line.json()) } else { say(line.text()) }
    }

    /// What is wrong with what is told.
    pub(super) fn problem(self, problem: &str) -> Result<(), CommandError> {
        if self.as_json {
            return say_json(&Line::of("problem").bare("problem", problem).json());
        }
        say(format!("PROBLEM: {problem}"))
    }
}

/// A line in the making. Facts keep the order in which they are given.
#[derive(Debug, Clone)]
pub(super) struct Line {
    what: &'static str,
    /// How many things it is within.
    depth: usize,
    facts: Vec<Fact>,
}

#[derive(Debug, Clone)]
struct Fact {
    name: &'static str,
    value: Value,
    shown: Shown,
}

/// How a fact stands in text. In JSON all stand by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// `3-17`
    Bare,
    /// `object=3-17`
    Named,
    /// Its name alone, where it is true.
    Flag,
    /// Not at all, as the lines above say it.
    No,
}

impl Line {
    pub(super) fn of(what: &'static str) -> Line {
        Line { what, depth: 0, facts: Vec::new() }
    }

    /// A thing within another, which the facts in `of` say.
    pub(super) fn within(depth: usize, what: &'static str, of: &[(&'static str, Value)]) -> Line {
        let facts = of.iter().map(|(name, value)| Fact { name, value: value.clone(), shown: Shown::No });
        Line { what, depth, facts: facts.collect() }
    }

    pub(super) fn bare(self, name: &'static str, value: impl Into<Value>) -> Line {
        self.fact(name, value.into(), Shown::Bare)
    }

    pub(super) fn with(self, name: &'static str, value: impl Into<Value>) -> Line {
        self.fact(name, value.into(), Shown::Named)
    }

    /// `offsets=5..9`
    pub(super) fn offsets(self, range: OffsetRange) -> Line {
        self.with("offsets", json!([range.base.0, range.next.0]))
    }

    /// A word that stands there or does not; in JSON it is true or false.
    pub(super) fn flag(self, name: &'static str, is_so: bool) -> Line {
        self.fact(name, is_so.into(), Shown::Flag)
    }

    fn fact(mut self, name: &'static str, value: Value, shown: Shown) -> Line {
        self.facts.push(Fact { name, value, shown });
        self
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("what".to_owned(), Value::from(self.what));
        object.extend(self.facts.iter().map(|fact| (fact.name.to_owned(), fact.value.clone())));
        Value::Object(object)
    }

    fn text(&self) -> String {
        let mut line = format!("{:indent$}{}", "", self.what, indent = 2 * self.depth);
        for fact in &self.facts {
            let value = match &fact.value {
                Value::String(text) => text.clone(),
                Value::Array(ends) => ends.iter().map(Value::to_string).collect::<Vec<_>>().join(".."),
                other => other.to_string(),
            };
            match fact.shown {
                Shown::Bare => line.push_str(&format!(" {value}")),
                Shown::Named => line.push_str(&format!(" {}={value}", fact.name)),
                Shown::Flag if fact.value == Value::Bool(true) => line.push_str(&format!(" {}", fact.name)),
                Shown::Flag | Shown::No => {}
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Offset;

    #[test]
    fn a_line_is_read_by_people_and_by_scripts() {
        let range = OffsetRange { base: Offset(5), next: Offset(9) };
        let line = Line::within(1, "block", &[("object", "3-17".into())]).bare("index", 2).with("records", 4);
        let line = line.offsets(range).flag("control", true).flag("damaged", false);
        assert_eq!(line.text(), "  block 2 records=4 offsets=5..9 control");
        let told = json!({
            "what": "block", "object": "3-17", "index": 2, "records": 4, "offsets": [5, 9], "control": true, "damaged": false,
        });
        assert_eq!(line.json(), told);
    }
}
