//! Prints the last section of `docs/compatibility.md` from the tables of APIs.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    print!("{}", protocol::refused::table());
}
