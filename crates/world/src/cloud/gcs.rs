//! Google Cloud Storage: `gs://bucket/prefix`. Put-if-absent is a PUT with `x-goog-if-generation-match: 0`.

use super::location::{self, Bucket};
use super::{Built, client_options, no_retries};
use crate::object_store::StoreError;
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use std::sync::Arc;
use url::Url;

/// A bucket, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcsLocation {
    pub(super) bucket: Bucket,
    /// Requests are signed by nobody: for emulators.
    pub(super) anonymous: bool,
}

impl GcsLocation {
    /// Reads `gs://bucket/prefix?endpoint=…&anonymous=…`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the URL and what would be right.
    pub fn parse(url: &Url) -> Result<GcsLocation, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong in the URL; set GOOGLE_APPLICATION_CREDENTIALS".to_owned());
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err("a gs URL is gs://BUCKET/PREFIX?endpoint=http://HOST:PORT".to_owned());
        }
        let name =
            url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("the bucket is missing: gs://BUCKET/PREFIX")?;
        let bucket = location::parse(url, name, &["anonymous"])?;
        let anonymous = bucket.switch("anonymous")?.unwrap_or(false);
        if anonymous && bucket.endpoint.is_none() {
            return Err("anonymous=true is for an emulator: name its endpoint too".to_owned());
        }
        Ok(GcsLocation { bucket, anonymous })
    }

    /// Whether requests go over plain HTTP to another machine.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        self.bucket.is_unprotected()
    }
}

/// Credentials come from the standard environment variables, the gcloud tool's file, or the machine's service account. `credentials` may
/// replace them.
pub(super) fn build(
    location: &GcsLocation,
    credentials: impl FnOnce(GoogleCloudStorageBuilder) -> GoogleCloudStorageBuilder,
) -> Result<Built, StoreError> {
    let text = location.bucket.describe("gs");
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&location.bucket.name)
        .with_client_options(client_options(&location.bucket))
        .with_retry(no_retries());
    if let Some(endpoint) = location.bucket.endpoint_text() {
        builder = builder.with_base_url(&endpoint);
    }
    if location.anonymous {
        // The crate can leave a signature out, but not of a put.
        let nobody = GcpCredential { bearer: "anonymous".to_owned() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    Ok(Built {
        service: Arc::new(credentials(builder).build().map_err(|error| super::not_built(&text, &error))?),
        has_suffixes: true,
        lists_in_order: true,
        prefix: location.bucket.prefix.clone(),
        text,
    })
}
