//! Listing a tree of folders in the byte order of whole keys.
//!
//! Within a folder, a file sorts by its name and a subfolder by its name with the slash, since that is how all keys below
//! it go on: `a-b` and `a.b` come before everything in `a/`, and `a0` after. So a depth-first walk in that order is the
//! order of the keys.

use super::{Folder, TEMPORARY, folder_of};
use crate::disk::DiskError;
use crate::object_store::{ObjectMeta, StoreError};
use crate::sync::lock;

/// What is still to be visited, in reverse order.
enum Step {
    /// A folder, by its key prefix.
    Folder(String),
    /// Neighbouring files in one folder: its key prefix and their names, in reverse order.
    Files(String, Vec<String>),
}

impl Folder {
    pub(super) async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut found = Vec::new();
        let mut steps = vec![Step::Folder(folder_of(prefix).to_owned())];
        while let Some(step) = steps.pop() {
            if found.len() >= limit {
                break;
            }
            match step {
                Step::Folder(folder) => self.open_folder(&folder, prefix, after, &mut steps).await?,
                Step::Files(folder, mut names) => {
                    let rest = names.len().saturating_sub(limit - found.len());
                    let mut batch = names.split_off(rest);
                    batch.reverse();
                    if !names.is_empty() {
                        steps.push(Step::Files(folder.clone(), names));
                    }
                    self.measure(&folder, &batch, &mut found).await?;
                }
            }
        }
        if found.is_empty() {
            self.check_root().await?;
        }
        for object in &found {
            let undurable = lock(&self.undurable_keys).contains(&object.key);
            if undurable {
                self.make_durable(&object.key).await.map_err(|error| self.explain(&error))?;
            }
        }
        Ok(found)
    }

    /// Adds what is to be visited in a folder.
    async fn open_folder(
        &self,
        folder: &str,
        prefix: &str,
        after: &str,
        steps: &mut Vec<Step>,
    ) -> Result<(), StoreError> {
        let names = match self.disk.list(&self.root.join(folder)).await {
            Ok(names) => names,
            // Never made, or removed since.
            Err(DiskError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(self.explain(&error)),
        };
        let mut children: Vec<String> = names
            .into_iter()
            .filter(|(name, _)| !(folder.is_empty() && name == TEMPORARY))
            .map(|(name, is_folder)| format!("{folder}{name}{}", if is_folder { "/" } else { "" }))
            .filter(|key| match key.ends_with('/') {
                true => (key.starts_with(prefix) || prefix.starts_with(key.as_str())) && may_hold_more(key, after),
                false => key.starts_with(prefix) && key.as_str() > after,
            })
            .collect();
        children.sort_unstable();

        let mut files = Vec::new();
        for key in children.into_iter().rev() {
            if key.ends_with('/') {
                push_files(folder, &mut files, steps);
                steps.push(Step::Folder(key));
            } else {
                files.push(key[folder.len()..].to_owned());
            }
        }
        push_files(folder, &mut files, steps);
        Ok(())
    }

    /// Adds the files, with their sizes. One that is gone meanwhile is listed as empty: what a listing shows must have been there at one
    /// moment. Were it left out, who looks while the newest snapshot is replaced by a newer one would find none.
    async fn measure(&self, folder: &str, names: &[String], found: &mut Vec<ObjectMeta>) -> Result<(), StoreError> {
        let sizes = match self.disk.sizes(&self.root.join(folder), names).await {
            Ok(sizes) => sizes,
            Err(DiskError::NotFound(_)) => vec![None; names.len()],
            Err(error) => return Err(self.explain(&error)),
        };
        let object = |(name, size): (&String, Option<u64>)| ObjectMeta {
            key: format!("{folder}{name}"),
            size: size.unwrap_or_default(),
        };
        found.extend(names.iter().zip(sizes).map(object));
        Ok(())
    }
}

fn push_files(folder: &str, files: &mut Vec<String>, steps: &mut Vec<Step>) {
    if !files.is_empty() {
        steps.push(Step::Files(folder.to_owned(), std::mem::take(files)));
    }
}

/// Whether a key below `folder` can come after `after`.
fn may_hold_more(folder: &str, after: &str) -> bool {
    folder > after || after.starts_with(folder)
}
