//! A listing in byte order from a service that lists in none, such as S3 Express: folder by folder, each put in order here.
//!
//! A folder stands among the names beside it where its name with the slash does, since everything below it begins so. Only the folders that
//! can hold what is wanted are listed, so that a page costs what the folders that it touches hold, not what the bucket does.

use crate::object_store::ObjectMeta;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;

/// What a page is of; all names are as in the bucket, with its prefix.
pub(super) struct Wanted<'a> {
    pub(super) prefix: &'a str,
    pub(super) after: &'a str,
    pub(super) limit: usize,
}

impl Wanted<'_> {
    /// Whether anything that begins so can be wanted.
    fn may_be_below(&self, folder: &str) -> bool {
        let meets_prefix = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        meets_prefix && (folder > self.after || self.after.starts_with(folder))
    }

    fn is(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && name > self.after
    }
}

enum Item {
    Object(ObjectMeta),
    Folder(String),
}

impl Item {
    fn name(&self) -> &str {
        match self {
            Item::Object(object) => &object.key,
            Item::Folder(name) => name,
        }
    }
}

/// Adds to `found`, in order, until it is full. `folder` is empty or ends with a slash.
pub(super) fn walk<'a>(
    service: &'a dyn ObjectStore,
    wanted: &'a Wanted<'a>,
    folder: String,
    found: &'a mut Vec<ObjectMeta>,
) -> BoxFuture<'a, Result<(), object_store::Error>> {
    Box::pin(async move {
        let path = Path::parse(folder.trim_end_matches('/')).map_err(object_store::Error::from)?;
        let listed = service.list_with_delimiter(Some(&path).filter(|path| !path.as_ref().is_empty())).await?;
        let objects = listed
            .objects
            .into_iter()
            .map(|object| Item::Object(ObjectMeta { key: object.location.as_ref().to_owned(), size: object.size }));
        let folders = listed.common_prefixes.into_iter().map(|prefix| Item::Folder(format!("{prefix}/")));
        let mut items: Vec<Item> = objects.chain(folders).collect();
        items.sort_by(|one, other| one.name().cmp(other.name()));
        for item in items {
            if found.len() >= wanted.limit {
                return Ok(());
            }
            match item {
                Item::Object(object) if wanted.is(&object.key) => found.push(object),
                Item::Folder(name) if wanted.may_be_below(&name) => walk(service, wanted, name, found).await?,
                Item::Object(_) | Item::Folder(_) => {}
            }
        }
        Ok(())
    })
}
