//! Progress of long work, drawn on standard error where that is a terminal; elsewhere nothing is drawn.

use indicatif::{ProgressBar, ProgressStyle};

/// What a bar counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Records,
    Seconds,
}

/// A bar from nothing to `total`.
pub(super) fn bar(total: u64, unit: Unit) -> ProgressBar {
    let counts = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {binary_bytes_per_sec}",
        Unit::Records => "{human_pos}/{human_len} records {per_sec}",
        Unit::Seconds => "{pos}/{len} s",
    };
    let bar = ProgressBar::new(total);
    let template = format!("{{wide_bar}} {counts} {{eta}}");
    // A template that can't be read would be a mistake in the lines above; the bar is then indicatif's own.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
