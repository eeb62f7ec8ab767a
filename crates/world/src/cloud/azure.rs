//! Azure Blob Storage: `az://container/prefix?account=…`, or `abfs://container@account.dfs.core.windows.net/prefix`. Put-if-absent is a
//! PUT with `If-None-Match: *`.
//!
//! An account with a hierarchical namespace, which `abfs` says, lists folder by folder and not by the bytes of names; so its folders are
//! put in order here.

use super::location::{self, Bucket};
use super::{Built, client_options, no_retries};
use crate::object_store::StoreError;
use object_store::azure::MicrosoftAzureBuilder;
use std::sync::Arc;
use url::Url;

/// A container, a prefix in it, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureLocation {
    pub(super) bucket: Bucket,
    /// `None`: the environment names it.
    pub(super) account: Option<String>,
    /// Folders are real ones.
    pub(super) hierarchical: bool,
    scheme: String,
}

impl AzureLocation {
    /// Reads `az://container/prefix?account=…&endpoint=…`, or `abfs[s]://container@account.dfs.core.windows.net/prefix`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the URL and what would be right.
    pub fn parse(url: &Url) -> Result<AzureLocation, String> {
        let scheme = url.scheme().to_owned();
        let hierarchical = scheme.starts_with("abfs");
        if url.password().is_some() || (!url.username().is_empty() && !hierarchical) {
            return Err(
                "credentials do not belong in the URL; set AZURE_STORAGE_ACCOUNT_KEY, or another of its variables"
                    .to_owned(),
            );
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err(format!(
                "an {scheme} URL is {scheme}://CONTAINER/PREFIX?account=ACCOUNT&endpoint=http://HOST:PORT"
            ));
        }
        let missing = || format!("the container is missing: {scheme}://CONTAINER/PREFIX?account=ACCOUNT");
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(missing)?;
        let (name, account) = match url.username() {
            "" => (host, None),
            container => (container, host.split('.').next().map(str::to_owned)),
        };
        let bucket = location::parse(url, name, &["account"])?;
        let account = bucket.parameters.get("account").cloned().or(account);
        Ok(AzureLocation { bucket, account, hierarchical, scheme })
    }

    /// Whether requests go over plain HTTP to another machine.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        self.bucket.is_unprotected()
    }
}

/// Credentials come from the standard environment variables: account key, SAS, service principal, workload and managed identity.
/// `credentials` may replace them.
pub(super) fn build(
    location: &AzureLocation,
    credentials: impl FnOnce(MicrosoftAzureBuilder) -> MicrosoftAzureBuilder,
) -> Result<Built, StoreError> {
    let text = location.bucket.describe(&location.scheme);
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&location.bucket.name)
        .with_client_options(client_options(&location.bucket))
        .with_retry(no_retries());
    if let Some(account) = &location.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = location.bucket.endpoint_text() {
        builder = builder.with_endpoint(endpoint).with_allow_http(location.bucket.is_plain_http());
    }
    Ok(Built {
        service: Arc::new(credentials(builder).build().map_err(|error| super::not_built(&text, &error))?),
        has_suffixes: false,
        lists_in_order: !location.hierarchical,
        prefix: location.bucket.prefix.clone(),
        text,
    })
}
