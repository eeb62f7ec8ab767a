//! As whom a command logs in: what the file of `--command-config` says, in the words of Kafka's tools.

use super::CommandError;
use client::Login;
use std::path::Path;

/// What the file may have.
const PROTOCOL: &str = "security.protocol";
const MECHANISM: &str = "sasl.mechanism";
const JAAS: &str = "sasl.jaas.config";

/// Reads it. `None`: nobody logs in.
///
/// # Errors
/// It can't be read, or has something that would not act; nothing is repeated of it that may be secret.
pub(super) fn read(file: &Path) -> Result<Option<Login>, CommandError> {
    let wrong = |why: String| CommandError::wrong(format!("--command-config {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    of_text(&text).map_err(wrong)
}

fn of_text(text: &str) -> Result<Option<Login>, String> {
    let (mut protocol, mut mechanism, mut jaas) = (String::from("PLAINTEXT"), String::from("GSSAPI"), None);
    for (key, value) in properties(text) {
        match key.as_str() {
            PROTOCOL => protocol = value,
            MECHANISM => mechanism = value,
            JAAS => jaas = Some(value),
            other => return Err(format!("{other} would not act; there are {PROTOCOL}, {MECHANISM} and {JAAS}")),
        }
    }
    match protocol.as_str() {
        "PLAINTEXT" if jaas.is_none() => return Ok(None),
        "PLAINTEXT" => return Err(format!("with {JAAS} there must be {PROTOCOL}=SASL_PLAINTEXT")),
        "SASL_PLAINTEXT" => {}
        other => return Err(format!("{PROTOCOL}={other} is not served yet; there are PLAINTEXT and SASL_PLAINTEXT")),
    }
    if mechanism != "PLAIN" {
        return Err(format!("{MECHANISM}={mechanism}: the commands of millstream log in by PLAIN"));
    }
    let jaas = jaas.ok_or_else(|| format!("there is no {JAAS}"))?;
    let login = broker::settings::login_of(&jaas).map_err(|why| format!("{JAAS}: {why}"))?;
    let (user, password) = login.ok_or_else(|| format!("{JAAS} has no username or no password"))?;
    Ok(Some(Login { user, password }))
}

/// Keys and values of Java's format: one on a line, which goes on behind a backslash.
fn properties(text: &str) -> Vec<(String, String)> {
    let (mut found, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while goes_on(&whole) {
            whole.pop();
            whole.push_str(lines.next().unwrap_or_default().trim_start());
        }
        let end = whole.find(|it: char| it.is_whitespace() || matches!(it, '=' | ':')).unwrap_or(whole.len());
        let (key, rest) = whole.split_at(end);
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        found.push((key.to_owned(), unescaped(value)));
    }
    found
}

/// A backslash that is not itself behind one.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn unescaped(value: &str) -> String {
    let (mut plain, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(it) = chars.next() {
        match it {
            '\\' => plain.extend(chars.next()),
            it => plain.push(it),
        }
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

    #[test]
    fn the_file_of_kafkas_tools_says_who_logs_in() {
        let text = format!(
            "# the administrator\nsecurity.protocol = SASL_PLAINTEXT\nsasl.mechanism: PLAIN\n\
             sasl.jaas.config={MODULE} \\\n  username=\"admin\" \\\n  password=\"a=b c\";\n"
        );
        let login = of_text(&text).unwrap().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("admin", "a=b c"));
        assert!(of_text("security.protocol=PLAINTEXT\n").unwrap().is_none());
        assert!(of_text("").unwrap().is_none());
    }

    #[test]
    fn what_would_not_act_is_refused_without_a_secret() {
        let jaas = format!("sasl.jaas.config={MODULE} username=\"admin\" password=\"secret\";\n");
        let sasl = "security.protocol=SASL_PLAINTEXT\n";
        let cases = [
            ("ssl.truststore.location=/x\n".to_owned(), "ssl.truststore.location would not act"),
            ("security.protocol=SASL_SSL\n".to_owned(), "SASL_SSL is not served yet"),
            (jaas.clone(), "there must be security.protocol=SASL_PLAINTEXT"),
            (format!("{sasl}{jaas}"), "sasl.mechanism=GSSAPI: the commands of millstream log in by PLAIN"),
            (format!("{sasl}sasl.mechanism=PLAIN\n"), "there is no sasl.jaas.config"),
            (format!("{sasl}sasl.mechanism=PLAIN\nsasl.jaas.config=M required;"), "no username"),
            (format!("{sasl}sasl.mechanism=PLAIN\nsasl.jaas.config=M required password=\"secret"), "CLASS required"),
        ];
        for (text, why) in cases {
            let told = of_text(&text).unwrap_err();
            assert!(told.contains(why) && !told.contains("secret"), "{told}");
        }
    }
}
