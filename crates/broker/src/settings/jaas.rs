//! Java's login configuration, as far as brokers are given it: one module with its options.
//!
//! `org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="…" user_alice="…";`

use crate::sasl::Text;
use std::collections::BTreeMap;

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// A module's class and its options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Jaas {
    pub(super) class: String,
    pub(super) options: BTreeMap<String, Text>,
}

/// Reads it.
///
/// # Errors
/// What is wrong with it; nothing of it is repeated, as most of it is secret.
pub(super) fn parse(text: &str) -> Result<Jaas, String> {
    let mut words = Words { rest: text };
    let wrong = |what: &str| format!("{what}; write CLASS required NAME=\"VALUE\" …;");
    let class = words.plain().ok_or_else(|| wrong("it does not begin with a class"))?;
    let flag = words.plain().unwrap_or_default();
    if !FLAGS.iter().any(|known| flag.eq_ignore_ascii_case(known)) {
        return Err(wrong("behind the class there is no `required`"));
    }
    let mut options = BTreeMap::new();
    loop {
        if words.take(';') {
            break;
        }
        let name = words.plain().ok_or_else(|| wrong("it does not end with ;"))?;
        if !words.take('=') {
            return Err(wrong("an option has no value"));
        }
        let value = words.value().ok_or_else(|| wrong("the value of an option is not closed"))?;
        options.insert(name, Text(value));
    }
    if !words.rest.trim().is_empty() {
        return Err(wrong("there is more than one module"));
    }
    Ok(Jaas { class, options })
}

/// As whom a login configuration logs in, and with which password. `None`: it does not say both.
///
/// # Errors
/// What is wrong with it; nothing of it is repeated.
pub fn login_of(text: &str) -> Result<Option<(String, String)>, String> {
    let Jaas { mut options, .. } = parse(text)?;
    let user = options.remove("username").map(|user| user.0);
    Ok(user.zip(options.remove("password").map(|password| password.0)))
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn take(&mut self, mark: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A word without quotes.
    fn plain(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let end = rest.find(|it: char| it.is_whitespace() || matches!(it, '=' | ';' | '"')).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// A word, or a text in quotes, in which a backslash takes what follows as it is.
    fn value(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else { return self.plain() };
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        while let Some((at, it)) = chars.next() {
            match it {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_options_in_quotes_or_without() {
        let jaas = parse(
            "org.apache.kafka.common.security.plain.PlainLoginModule required\n  username=\"admin\" password=\"a\\\"b;c=d\"\n \
             user_alice=wonder user_b='x' ;",
        )
        .unwrap();
        assert_eq!(jaas.class, "org.apache.kafka.common.security.plain.PlainLoginModule");
        let option = |name: &str| jaas.options[name].0.as_str();
        assert_eq!([option("username"), option("password"), option("user_alice")], ["admin", "a\"b;c=d", "wonder"]);
        assert_eq!(parse("M required;").unwrap().options.len(), 0);
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_secret() {
        let wrong = [
            "",
            "M",
            "M needed x=1;",
            "M required p=\"secret",
            "M required p=secret",
            "M required p;",
            "M required; N required;",
        ];
        for text in wrong {
            let told = parse(text).unwrap_err();
            assert!(told.contains("CLASS required") && !told.contains("secret"), "{told}");
        }
    }
}
