//! Prints `docs/configuration.md` from the tables of settings.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    print!("{}", broker::settings::document::page());
}
