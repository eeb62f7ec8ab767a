//! Where the honoured settings about quotas act; see `honoured`.

use super::honoured_line::{Honoured, line, number};
use crate::QuotaWindows;

pub(super) static QUOTAS: &[Honoured] = &[
    line(
        "controller.quota.window.num",
        |text, to| count(text, &mut to.controller_quota_windows),
        |of| of.controller_quota_windows.count.to_string(),
    ),
    line(
        "controller.quota.window.size.seconds",
        |text, to| seconds(text, &mut to.controller_quota_windows),
        |of| of.controller_quota_windows.seconds.to_string(),
    ),
    line("quota.window.num", |text, to| count(text, &mut to.quota_windows), |of| of.quota_windows.count.to_string()),
    line(
        "quota.window.size.seconds",
        |text, to| seconds(text, &mut to.quota_windows),
        |of| of.quota_windows.seconds.to_string(),
    ),
];

fn count(text: &str, to: &mut QuotaWindows) -> Result<(), String> {
    number(text, 1, QuotaWindows::COUNT_MAX).map(|it| to.count = it)
}

fn seconds(text: &str, to: &mut QuotaWindows) -> Result<(), String> {
    number(text, 1, QuotaWindows::SECONDS_MAX).map(|it| to.seconds = it)
}
