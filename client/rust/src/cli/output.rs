//! What people and programs get to see.

use std::{
    io::{self, IsTerminal as _, Stdout, Write as _},
    time::Duration,
};

use cloakroom_client::OnProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::Failure;

/// Standard output, for people or for programs.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    out: Stdout,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: io::stdout() }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One result: as JSON, or as the text that `human` makes.
    pub(crate) fn result(&mut self, json: impl FnOnce() -> Value, human: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = if self.json { json().to_string() } else { human() };
        writeln!(self.out, "{text}")?;
        self.out.flush().map_err(Failure::from)
    }

    /// Rows with a head, in aligned columns; for people only.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let lines = std::iter::once(head.iter().map(ToString::to_string).collect()).chain(rows.iter().cloned());
        let text = aligned(&lines.collect::<Vec<_>>());
        self.out.write_all(text.as_bytes())?;
        self.out.flush().map_err(Failure::from)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        self.out.flush().map_err(Failure::from)
    }

    pub(crate) fn version(&mut self) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        self.result(|| json!({ "version": version }), || format!("cloakroom {version}"))
    }
}

/// Columns wide enough for their widest cell, two spaces apart; nothing trails.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// What a terminal must not be told as it is: control characters of somebody else's making.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A cell that may have nothing in it.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { plain(text) }
}

/// A size in the unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        // One digit after the point, rounded down: enough to compare, and never more than there is.
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// The same of what the contract counts with a sign.
pub(crate) fn signed_size(bytes: i64) -> String {
    size(bytes.max(0).unsigned_abs())
}

/// A span of time in its largest two units.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

/// A bar on standard error, if that is a terminal.
pub(crate) fn progress(what: &'static str) -> (Option<OnProgress>, ProgressBar) {
    if !io::stderr().is_terminal() {
        return (None, ProgressBar::hidden());
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left") {
        bar.set_style(style.progress_chars("=> "));
    }
    let shown = bar.clone();
    let told = OnProgress::new(move |done, total| {
        shown.set_length(total);
        shown.set_position(done);
    });
    (Some(told), bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_nothing_trails() {
        let rows = [vec!["ID".to_owned(), "B".to_owned()], vec!["é".to_owned(), "long".to_owned()], vec!["abc".to_owned(), String::new()]];
        assert_eq!(aligned(&rows), "ID   B\né    long\nabc\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn numbers_are_said_in_fitting_units() {
        assert_eq!([0, 1023, 1024, 1536, 110 << 20, u64::MAX].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "110.0 MiB", "17179869183.9 GiB"]);
        assert_eq!([3, 63, 3700, 90_000].map(|seconds| span(Duration::from_secs(seconds))), ["3 s", "1 min 3 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_terminal_is_told_no_control_characters() {
        assert_eq!(or_dash("\u{1b}[31mred\n"), "\u{fffd}[31mred\u{fffd}");
        assert_eq!(or_dash(""), "-");
    }
}
