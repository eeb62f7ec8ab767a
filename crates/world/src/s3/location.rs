//! What an `s3://` URL says.

use object_store::path::Path;
use url::Url;

/// Query parameters that are understood.
const PARAMETERS: &str = "endpoint, region, path_style";

/// A bucket, a prefix in it, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    pub(super) bucket: String,
    /// Empty, or ends with a slash.
    pub(super) prefix: String,
    pub(super) endpoint: Option<Url>,
    pub(super) region: Option<String>,
    /// The bucket is part of the host name, not of the path.
    pub(super) virtual_hosted: bool,
}

impl S3Location {
    /// Reads `s3://bucket/prefix?endpoint=…&region=…&path_style=…`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the URL and what would be right.
    pub fn parse(url: &Url) -> Result<S3Location, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "credentials do not belong in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
            );
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err("an s3 URL is s3://BUCKET/PREFIX?endpoint=http://HOST:PORT".to_owned());
        }
        let bucket =
            url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("the bucket is missing: s3://BUCKET/PREFIX")?;
        if bucket.ends_with("--x-s3") {
            return Err(
                "S3 Express buckets do not list in order, which Millstream needs; use a general bucket".to_owned()
            );
        }
        let prefix = url.path().trim_matches('/');
        if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte)) {
            return Err(format!("the prefix {prefix:?} has characters other than letters, digits and / - _ ."));
        }
        let parsed = Path::parse(prefix).map_err(|error| format!("the prefix {prefix:?} is not valid: {error}"))?;
        let mut location = S3Location {
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{parsed}/") },
            endpoint: None,
            region: None,
            virtual_hosted: true,
        };
        let mut path_style = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => location.endpoint = Some(parse_endpoint(&value)?),
                "region" if !value.is_empty() => location.region = Some(value.into_owned()),
                "path_style" => path_style = Some(parse_switch(&value)?),
                _ => return Err(format!("{name}={value} is not understood; known parameters: {PARAMETERS}")),
            }
        }
        // Names with dots do not fit the certificates of virtual hosts.
        let path_style = path_style.unwrap_or(location.endpoint.is_some() || location.bucket.contains('.'));
        location.virtual_hosted = !path_style;
        Ok(location)
    }

    /// Whether requests go over plain HTTP.
    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http")
    }

    /// Whether requests go over plain HTTP to another machine.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        let host = self.endpoint.as_ref().and_then(Url::host);
        let local = match host {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.is_plain_http() && !local
    }

    /// The endpoint as the crate wants it: with the bucket in the host where it belongs there.
    pub(super) fn endpoint_of_bucket(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        let text = endpoint.as_str().trim_end_matches('/');
        match (self.virtual_hosted, text.split_once("://")) {
            (true, Some((scheme, rest))) => Some(format!("{scheme}://{}.{rest}", self.bucket)),
            _ => Some(text.to_owned()),
        }
    }

    /// For messages; there is no secret in it.
    pub(super) fn describe(&self) -> String {
        let at = self.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" at {endpoint}"));
        format!("s3://{}/{}{at}", self.bucket, self.prefix)
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

fn parse_switch(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("path_style={value} is neither true nor false")),
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
