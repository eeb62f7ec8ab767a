//! command × image → image, or a refusal.

use crate::{Entry, Image, Outcome};

/// Folds one entry into the image; answers one outcome per command.
pub fn apply(_image: &mut Image, _entry: &Entry) -> Vec<Outcome> {
    todo!()
}
