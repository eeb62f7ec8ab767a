//! What the URLs of all clouds have in common: a bucket, a prefix, parameters, perhaps another endpoint; and where a listing begins.

use object_store::path::Path;
use std::collections::BTreeMap;
use url::Url;

/// A bucket, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) name: String,
    /// Empty, or ends with a slash.
    pub(super) prefix: String,
    pub(super) endpoint: Option<Url>,
    /// The other parameters.
    pub(super) parameters: BTreeMap<String, String>,
}

/// Reads `SCHEME://NAME/PREFIX?endpoint=…`; `known` are the parameters that are understood besides.
pub(super) fn parse(url: &Url, name: &str, known: &[&str]) -> Result<Bucket, String> {
    let prefix = url.path().trim_matches('/');
    if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte)) {
        return Err(format!("the prefix {prefix:?} has characters other than letters, digits and / - _ ."));
    }
    let parsed = Path::parse(prefix).map_err(|error| format!("the prefix {prefix:?} is not valid: {error}"))?;
    let mut bucket = Bucket {
        name: name.to_owned(),
        prefix: if prefix.is_empty() { String::new() } else { format!("{parsed}/") },
        endpoint: None,
        parameters: BTreeMap::new(),
    };
    for (name, value) in url.query_pairs() {
        match &*name {
            "endpoint" => bucket.endpoint = Some(parse_endpoint(&value)?),
            other if known.contains(&other) && !value.is_empty() => {
                bucket.parameters.insert(name.into_owned(), value.into_owned());
            }
            _ => {
                let known = std::iter::once(&"endpoint").chain(known).copied().collect::<Vec<_>>().join(", ");
                return Err(format!("{name}={value} is not understood; known parameters: {known}"));
            }
        }
    }
    Ok(bucket)
}

impl Bucket {
    /// A parameter that is true or false.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, String> {
        match self.parameters.get(name).map(String::as_str) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(format!("{name}={value} is neither true nor false")),
        }
    }

    /// Whether requests go over plain HTTP.
    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http")
    }

    /// Whether requests go over plain HTTP to another machine.
    pub(super) fn is_unprotected(&self) -> bool {
        let host = self.endpoint.as_ref().and_then(Url::host);
        let local = match host {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.is_plain_http() && !local
    }

    /// The endpoint without a slash at its end.
    pub(super) fn endpoint_text(&self) -> Option<String> {
        Some(self.endpoint.as_ref()?.as_str().trim_end_matches('/').to_owned())
    }

    /// For messages; there is no secret in it.
    pub(super) fn describe(&self, scheme: &str) -> String {
        let at = self.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" at {endpoint}"));
        format!("{scheme}://{}/{}{at}", self.name, self.prefix)
    }
}

fn parse_endpoint(value: &str) -> Result<Url, String> {
    let wrong = || format!("endpoint={value} is not http://HOST:PORT or https://HOST:PORT");
    let endpoint = Url::parse(value).map_err(|_| wrong())?;
    let plain = endpoint.username().is_empty() && endpoint.password().is_none() && endpoint.query().is_none();
    if matches!(endpoint.scheme(), "http" | "https") && endpoint.has_host() && plain {
        Ok(endpoint)
    } else {
        Err(wrong())
    }
}

/// A path to start a listing after, below every key that is wanted; as near as the crate's paths allow.
///
/// It is exclusive, so for a prefix that ends within a name it is a little smaller than the prefix.
pub(super) fn offset_before(root: &str, prefix: &str, after: &str) -> Option<Path> {
    let mut before_prefix = prefix.to_owned();
    let last = before_prefix.pop().filter(|last| last.is_ascii_graphic() && *last != '/');
    if let Some(smaller) = last.and_then(|last| u8::try_from(last).ok()).map(|byte| char::from(byte - 1)) {
        before_prefix.push(smaller);
    }
    let offset = if after >= before_prefix.as_str() { after } else { &before_prefix };
    let offset = format!("{root}{offset}");
    // Where the crate has no such path, the folder is listed from its beginning.
    Path::parse(&offset).ok().filter(|path| !path.as_ref().is_empty() && path.as_ref() <= offset.as_str())
}
