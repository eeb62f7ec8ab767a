//! S3 and its likes: `s3://bucket/prefix?endpoint=…&region=…`; S3 Express by the bucket's suffix.

use super::location::{self, Bucket};
use super::{Built, client_options, no_retries};
use crate::object_store::StoreError;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use std::sync::Arc;
use url::Url;

/// Ends the name of every S3 Express ("directory") bucket.
const EXPRESS_SUFFIX: &str = "--x-s3";

/// A bucket, a prefix in it, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    pub(super) bucket: Bucket,
    pub(super) region: Option<String>,
    /// The bucket is part of the host name, not of the path.
    pub(super) virtual_hosted: bool,
    /// A directory bucket: its lists are in no order, and its requests are signed by sessions.
    pub(super) express: bool,
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
        let name =
            url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("the bucket is missing: s3://BUCKET/PREFIX")?;
        let bucket = location::parse(url, name, &["region", "path_style", "s3express"])?;
        let express = bucket.switch("s3express")?.unwrap_or(name.ends_with(EXPRESS_SUFFIX));
        if express && bucket.endpoint.is_none() && !name.ends_with(EXPRESS_SUFFIX) {
            return Err(format!("an S3 Express bucket's name ends in --ZONE{EXPRESS_SUFFIX}"));
        }
        // Names with dots do not fit the certificates of virtual hosts.
        let path_style = bucket.switch("path_style")?.unwrap_or(bucket.endpoint.is_some() || name.contains('.'));
        let region = bucket.parameters.get("region").cloned();
        Ok(S3Location { bucket, region, virtual_hosted: !path_style, express })
    }

    /// Whether requests go over plain HTTP to another machine.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        self.bucket.is_unprotected()
    }

    /// The endpoint as the crate wants it: with the bucket in the host where it belongs there.
    pub(super) fn endpoint_of_bucket(&self) -> Option<String> {
        let text = self.bucket.endpoint_text()?;
        match (self.virtual_hosted, text.split_once("://")) {
            (true, Some((scheme, rest))) => Some(format!("{scheme}://{}.{rest}", self.bucket.name)),
            _ => Some(text),
        }
    }

    /// For messages; there is no secret in it.
    pub(super) fn describe(&self) -> String {
        self.bucket.describe("s3")
    }
}

/// Credentials come from the standard environment variables: static keys, web identity, container and instance roles. `credentials` may
/// replace them.
pub(super) fn build(
    location: &S3Location,
    credentials: impl FnOnce(AmazonS3Builder) -> AmazonS3Builder,
) -> Result<Built, StoreError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&location.bucket.name)
        .with_client_options(client_options(&location.bucket))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_virtual_hosted_style_request(location.virtual_hosted)
        .with_retry(no_retries());
    if let Some(region) = &location.region {
        builder = builder.with_region(region);
    }
    match location.endpoint_of_bucket() {
        Some(endpoint) => builder = builder.with_endpoint(endpoint),
        // Only Amazon's own has sessions.
        None => builder = builder.with_s3_express(location.express),
    }
    Ok(Built {
        service: Arc::new(
            credentials(builder).build().map_err(|error| super::not_built(&location.describe(), &error))?,
        ),
        has_suffixes: true,
        lists_in_order: !location.express,
        prefix: location.bucket.prefix.clone(),
        text: location.describe(),
    })
}
