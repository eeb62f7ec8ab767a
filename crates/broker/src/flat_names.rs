//! The names of all topics as they are in metric names, so that whoever asks for many new ones does not compare each with all.

use crate::topic_name;
use control_core::{Image, TopicNames};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Mutex;
use world::lock;

/// An index of the ledger's names. It follows them by what has changed.
#[derive(Debug, Default)]
pub(crate) struct FlatNames(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    /// Of these names.
    of: TopicNames,
    /// Those that can collide, each behind what becomes of it. Several that do may be there: nobody checks what the broker itself makes,
    /// or what is restored.
    flat: BTreeSet<(String, String)>,
}

impl FlatNames {
    /// The topic that one of this name would collide with.
    pub(crate) fn collision(&self, name: &str, image: &Image) -> Option<String> {
        if !topic_name::can_collide(name) {
            return None;
        }
        let mut index = lock(&self.0);
        index.follow(image);
        let flat = topic_name::flat(name);
        let from = (flat, String::new());
        let same = index.flat.range((Bound::Included(&from), Bound::Unbounded)).take_while(|(it, _)| *it == from.0);
        same.map(|(_, other)| other).find(|other| *other != name).cloned()
    }
}

impl Index {
    fn follow(&mut self, image: &Image) {
        if self.of.ptr_eq(&image.topic_names) {
            return;
        }
        for (name, has_come) in image.changed_names(&self.of) {
            if !topic_name::can_collide(name) {
                continue;
            }
            let entry = (topic_name::flat(name), name.clone());
            if has_come {
                self.flat.insert(entry);
            } else {
                self.flat.remove(&entry);
            }
        }
        self.of = image.topic_names.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::TopicId;

    fn image(names: &[&str]) -> Image {
        let mut image = Image::default();
        for (number, name) in (1..).zip(names) {
            image.topic_names.insert((*name).to_owned(), TopicId(number));
        }
        image
    }

    #[test]
    fn dots_and_underscores_collide_with_each_other_but_a_name_not_with_itself() {
        let names = FlatNames::default();
        let image = image(&["a.b", "plain", "a.b.c"]);
        assert_eq!(names.collision("a_b", &image).as_deref(), Some("a.b"));
        assert_eq!(names.collision("a.b", &image), None);
        assert_eq!(names.collision("a-b", &image), None);
        assert_eq!(names.collision("a_b.", &image), None);
        assert_eq!(names.collision("a_b_c", &image).as_deref(), Some("a.b.c"));
    }

    /// Compared each with each, this takes minutes.
    #[test]
    fn many_names_are_held_against_many_topics() {
        let (names, many) = (FlatNames::default(), 0..20_000);
        let present: Vec<String> = many.clone().map(|number| format!("topic.{number:05}")).collect();
        let image = image(&present.iter().map(String::as_str).collect::<Vec<_>>());
        let collides = |number: &u32| names.collision(&format!("topic_{number:05}"), &image).is_some();
        assert_eq!(many.filter(collides).count(), present.len());
        assert_eq!(names.collision("topic_20000", &image), None);
    }

    #[test]
    fn it_knows_what_has_come_and_gone_whichever_image_is_asked_about() {
        let names = FlatNames::default();
        let (one, other) = (image(&["a.b"]), image(&["a_b", "x_y"]));
        for _ in 0..2 {
            assert_eq!(names.collision("a_b", &one).as_deref(), Some("a.b"));
            assert_eq!(names.collision("x.y", &one), None);
            assert_eq!(names.collision("a.b", &other).as_deref(), Some("a_b"));
            assert_eq!(names.collision("x.y", &other).as_deref(), Some("x_y"));
        }
        assert_eq!(names.collision("a.b", &image(&["a.b", "a_b"])).as_deref(), Some("a_b"));
    }
}
