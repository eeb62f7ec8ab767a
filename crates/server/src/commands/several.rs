//! A command that does the same to several things by their names: all are tried, those that fail are named at the end.

use super::{CommandError, say, say_json};
use serde_json::{Value, json};

/// What is told of a thing that was done.
pub(super) struct Done {
    pub(super) text: String,
    pub(super) json: Value,
}

/// Does `deed` to each of the `names`, and tells what became of it; `what` they are.
///
/// # Errors
/// Some failed: of a single one its own error, else code 1 and all of their lines. Or not all could be told.
pub(super) fn each(
    what: &str,
    names: &[String],
    as_json: bool,
    mut deed: impl FnMut(&str) -> Result<Done, CommandError>,
) -> Result<(), CommandError> {
    let mut failed = Vec::new();
    let mut told = Ok(());
    for name in names {
        let outcome = deed(name);
        // Where nobody listens any more, all are done nevertheless.
        told = told.and_then(|()| match &outcome {
            Ok(done) if as_json => say_json(&done.json),
            Ok(done) => say(&done.text),
            Err(error) if as_json => say_json(&json!({ what: name, "error": error.line })),
            Err(_) => Ok(()),
        });
        failed.extend(outcome.err());
    }
    told_all(what, names.len(), failed, told)
}

/// How such a command ends, which `asked` for so many.
///
/// # Errors
/// As [`each`] does.
pub(super) fn told_all(
    what: &str,
    asked: usize,
    mut failed: Vec<CommandError>,
    told: Result<(), CommandError>,
) -> Result<(), CommandError> {
    match failed.len() {
        0 => told,
        1 if asked == 1 => failed.pop().map_or(told, Err),
        count => {
            let lines: Vec<String> = failed.into_iter().map(|error| error.line).collect();
            Err(CommandError::failed(format!("{count} of {asked} {what}s failed: {}", lines.join("; "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Done {
        Done { text: "done".to_owned(), json: json!({}) }
    }

    #[test]
    fn all_are_tried_and_those_that_failed_are_named() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let mut tried = Vec::new();
        let failed = each("topic", &names, false, |name| {
            tried.push(name.to_owned());
            if name == "b" { Ok(done()) } else { Err(CommandError::wrong(format!("{name} is wrong"))) }
        });
        assert_eq!(tried, names);
        let error = failed.unwrap_err();
        assert_eq!((error.code, error.line.as_str()), (1, "2 of 3 topics failed: a is wrong; c is wrong"));
        let alone = each("topic", &names[..1], false, |_| Err(CommandError::wrong("it is wrong"))).unwrap_err();
        assert_eq!((alone.code, alone.line.as_str()), (2, "it is wrong"));
        assert!(each("topic", &names, false, |_| Ok(done())).is_ok());
    }
}
