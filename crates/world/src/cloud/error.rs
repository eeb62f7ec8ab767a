//! What a failed request means: whether to try again, to give up, or that the object is there.
//!
//! The crate's error kinds are too coarse for us (its *already exists* covers both 412, which says so, and 409, by which
//! the service says that it could not tell, because of another writer), and it keeps the HTTP status to itself. So the
//! status is read from the error's text, and the service's own code and message from the body quoted there.

use crate::object_store::StoreError;
use std::error::Error;
use std::time::Duration;

/// A failed request.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// A conditional create found an object.
    pub(super) exists: bool,
    status: Option<u16>,
    /// The service's own error code.
    code: Option<String>,
    pub(super) message: String,
    /// The bucket's service was not asked: there were no credentials, and the machine's own service gave none.
    lacks_credentials: bool,
}

/// No message is longer.
const MESSAGE_BYTES_MAX: usize = 300;

impl Failure {
    /// Reads the crate's error.
    pub(super) fn of(error: &object_store::Error) -> Failure {
        let text = error.to_string();
        let status = status_in(&text);
        let code = element(&text, "Code");
        // S3's 304 and 412 arrive wrapped once more. 409 says that it exists from Azure alone, which then says so by its code.
        let exists = match error {
            object_store::Error::AlreadyExists { source, .. } => {
                let is_wrapped = matches!(
                    source.downcast_ref::<object_store::Error>(),
                    Some(object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. })
                );
                is_wrapped || status == Some(412) || code.as_deref() == Some("BlobAlreadyExists")
            }
            _ => false,
        };
        let message = match (status, &code, element(&text, "Message")) {
            (Some(status), Some(code), Some(message)) => format!("{status} {code}: {message}"),
            (Some(status), Some(code), None) => format!("{status} {code}"),
            (Some(status), None, _) => format!("the service answered {status}"),
            (None, ..) => innermost(error),
        };
        let set = credentials_to_set(&text);
        let message = match set {
            None => shorten(&message),
            Some(set) => format!(
                "no credentials in the environment, and the machine's own service gives none ({}); set {set}",
                shorten(&message)
            ),
        };
        Failure { exists, status, code, message, lacks_credentials: set.is_some() }
    }

    /// A request that was given up.
    pub(super) fn timeout(limit: Duration) -> Failure {
        let message = format!("no answer within {} s", limit.as_secs());
        Failure { exists: false, status: None, code: None, message, lacks_credentials: false }
    }

    /// The request asked for an object that is not there.
    pub(super) fn is_missing_object(&self) -> bool {
        self.status == Some(404) && !self.has_code(&["NoSuchBucket", "ContainerNotFound"])
    }

    /// The range holds no byte of the object, or the service ignored it.
    pub(super) fn is_bad_range(&self) -> bool {
        self.status == Some(416) || self.message.contains("non-partial response")
    }

    /// Whether the same request may succeed later without anybody's help.
    fn may_pass(&self) -> bool {
        // The clocks are apart, or the role's credentials have just been renewed: seen to pass.
        let passing = ["RequestTimeout", "RequestTimeTooSkewed", "ExpiredToken", "OperationAborted"];
        match self.status {
            None => true,
            Some(408 | 409 | 425 | 429) => true,
            Some(501 | 505) => false,
            Some(status) if status >= 500 => true,
            Some(_) => self.has_code(&passing),
        }
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// The kind that callers act on, with what to do about it.
    pub(super) fn into_store_error(self, store: &str) -> StoreError {
        let message = &self.message;
        if self.may_pass() {
            return StoreError::Trouble(format!("{store}: {message}"));
        }
        let advice = match self.status {
            // The message says what to do.
            _ if self.lacks_credentials => String::new(),
            Some(401 | 403) => format!("; {}", self.advice_on_rights(store)),
            Some(404) => "; create the bucket, or correct its name".to_owned(),
            Some(301 | 307 | 308 | 400) => "; check the bucket's name, the region and the endpoint".to_owned(),
            Some(501) => "; the service lacks what Millstream needs".to_owned(),
            _ => String::new(),
        };
        StoreError::Refused(format!("{store}: {message}{advice}"))
    }

    /// Where the service looks who asks and what that one may: the variables, and the rights by their names there.
    fn advice_on_rights(&self, store: &str) -> String {
        if self.has_code(&["InvalidAccessKeyId"]) {
            return "check the credentials: there is no such key there as AWS_ACCESS_KEY_ID names".to_owned();
        }
        if self.has_code(&["SignatureDoesNotMatch"]) {
            return "check the credentials: AWS_SECRET_ACCESS_KEY is not that of the key in AWS_ACCESS_KEY_ID"
                .to_owned();
        }
        let (credentials, rights) = match store.split_once("://").map(|(scheme, _)| scheme) {
            Some("gs") => (
                "GOOGLE_APPLICATION_CREDENTIALS, or the machine's account",
                "storage.objects.list, .get, .create and .delete",
            ),
            Some("az" | "azure" | "abfs" | "abfss") => (
                "AZURE_STORAGE_ACCOUNT_KEY or another of its variables, or the machine's identity",
                "the role Storage Blob Data Contributor",
            ),
            _ => (
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role",
                "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject",
            ),
        };
        format!(
            "check the credentials ({credentials}), and that they may list, read, write and delete in this bucket ({rights})"
        )
    }
}

/// What to set, where a machine's own service was asked for credentials because there were none.
fn credentials_to_set(text: &str) -> Option<&'static str> {
    if text.contains("169.254.169.254") {
        return Some(
            "the variables that your cloud's tools read, which for S3 are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    text.contains("metadata.google.internal").then_some("GOOGLE_APPLICATION_CREDENTIALS")
}

/// The status in "… status code: 403 Forbidden: …", and in "… Not Found (code: 404)" of Azure's answer for many at once.
fn status_in(text: &str) -> Option<u16> {
    if text.contains("redirect without LOCATION") {
        return Some(301);
    }
    let after = |mark: &str| text.split_once(mark).and_then(|(_, rest)| rest.get(..3));
    let digits = after("status code: ").or_else(|| after("(code: "))?;
    digits.parse().ok()
}

/// The text of the first such element of an XML body. Enough for S3's flat error documents.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.to_owned())
}

/// What the last cause says: the outer ones repeat the address.
fn innermost(error: &object_store::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// One line of bounded length.
fn shorten(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().map(|(at, _)| at).find(|&at| at >= MESSAGE_BYTES_MAX) {
        Some(end) => format!("{}…", &line[..end]),
        None => line,
    }
}
