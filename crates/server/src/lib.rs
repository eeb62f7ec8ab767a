//! The binary's parts: configuration, wiring, command line, console.
