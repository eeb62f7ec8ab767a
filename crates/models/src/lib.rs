//! Models of protocols: every order of events within small bounds is tried, so that rules are known to suffice before they are built, and
//! each is known to be needed.
//!
//! A model is a value that says what may happen next ([`Model`]); [`explore`] walks all states breadth first, so that what it finds is
//! the shortest history that leads there. Each rule can be switched off; the tests say what is found then.

mod explore;
pub mod share_partition;
pub mod two_producers;

pub use explore::{Explored, Model, Step, explore};
