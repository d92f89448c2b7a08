//! 6 REPORT: text and numbers in a page.
//!
//! In: names out of files, numbers. Out: HTML text that is nothing but text; numbers as people read them.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

use crate::error::shown;

/// A text with everything that HTML or a direction of writing could make something else of escaped; right between tags
/// and between quotes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(self.0).chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(c),
        })
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: impl TryInto<u64>) -> String {
    indicatif::HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

/// A time that is read at a glance: `0.42 s`, `3 min 12 s`, `2 h 5 min`.
pub(super) fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A moment in universal time: `2026-03-01 12:30 UTC`.
pub(super) fn moment(time: SystemTime) -> String {
    // `2026-03-01T12:30:05Z`; what lies beyond the year 9999 cannot be shown.
    let moment = humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH));
    let mut text = String::new();
    match write!(text, "{moment}") {
        Ok(()) => format!("{} {} UTC", &text[..10], &text[11..16]),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_obey_is_escaped() {
        assert_eq!(Escaped("<a href='x'>\"&\u{7}").to_string(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\\u{7}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let all = [0u64, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_short() {
        let all = [0.4249, 59.9, 192.0, 7500.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(all, ["0.42 s", "59 s", "3 min 12 s", "2 h 5 min"]);
    }

    #[test]
    fn moments_follow_the_calendar() {
        let at = |seconds: u64| moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC", "2100 has no 29 February");
    }
}
