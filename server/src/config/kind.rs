//! Kinds of values: how each is read from text, what it needs, how it stands in TOML.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// Reads a value from its text; the error, if it has a text, says more than [`Kind::needs`] does.
type Read<T> = Box<dyn Fn(&str) -> Result<T, String>>;

/// How one kind of value is read. `needs` completes the sentence "it needs …".
pub(super) struct Kind<T> {
    /// Reads the text.
    pub(super) read: Read<T>,
    /// What a value must be.
    pub(super) needs: String,
    /// Stands in TOML without quotation marks.
    pub(super) bare: bool,
    /// Is never shown.
    pub(super) secret: bool,
}

fn kind<T>(needs: impl Into<String>, read: impl Fn(&str) -> Option<T> + 'static) -> Kind<T> {
    Kind { read: Box::new(move |text| read(text).ok_or_else(String::new)), needs: needs.into(), bare: false, secret: false }
}

/// A text that must not be shown: a password, a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text itself, for whoever must present it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// Any text.
pub(super) fn text() -> Kind<String> {
    kind("a text", |text| Some(text.to_owned()))
}

/// `true` or `false`.
pub(super) fn switch() -> Kind<bool> {
    Kind { bare: true, ..kind("true or false", |text| text.parse().ok()) }
}

/// An IP address with a port.
pub(super) fn address() -> Kind<SocketAddr> {
    kind("an IP address and a port, such as 127.0.0.1:7700 or [::1]:7700; port 0 takes a free one", |text| text.parse().ok())
}

/// A path of the file system.
pub(super) fn path() -> Kind<PathBuf> {
    kind("a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

/// A whole number from `min` to `max`.
pub(super) fn count(min: usize, max: usize) -> Kind<usize> {
    Kind { bare: true, ..kind(format!("a whole number from {min} to {max}"), move |text| text.parse().ok().filter(|count| (min..=max).contains(count))) }
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(options: &'static [(&'static str, T)]) -> Kind<T> {
    let words: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    kind(words.join(" or "), move |text| options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
}

/// A duration between two others.
pub(super) fn span(min: Duration, max: Duration) -> Kind<Duration> {
    let needs = format!("a duration from {min:?} to {max:?}, such as 500ms, 20s, 5m or 1h");
    kind(needs, move |text| read_span(text).filter(|span| (min..=max).contains(span)))
}

/// A number of bytes between two others.
pub(super) fn size(min: usize, max: usize) -> Kind<usize> {
    let needs = format!("a size from {min} to {max} bytes, such as 1048576, 1024KiB or 1MiB");
    kind(needs, move |text| read_size(text).filter(|size| (min..=max).contains(size)))
}

/// A secret, given itself or as `file:PATH`.
pub(super) fn hidden() -> Kind<Hidden> {
    let read = |text: &str| match text.strip_prefix("file:") {
        None => Ok(Hidden(text.to_owned())),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(content) => Ok(Hidden(content.trim().to_owned())),
            Err(error) => Err(format!("its file {path} cannot be read ({error})")),
        },
    };
    Kind { read: Box::new(read), needs: "a text, or file:PATH of a file that holds it".to_owned(), bare: false, secret: true }
}

/// What may be left empty.
pub(super) fn optional<T: 'static>(kind: Kind<T>) -> Kind<Option<T>> {
    let read = kind.read;
    let read = move |text: &str| if text.is_empty() { Ok(None) } else { read(text).map(Some) };
    Kind { read: Box::new(read), needs: format!("{}, or nothing", kind.needs), bare: kind.bare, secret: kind.secret }
}

fn read_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

fn read_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        assert_eq!(read_span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read_span("2m"), Some(Duration::from_mins(2)));
        assert_eq!(read_size("4MiB"), Some(4 << 20));
        assert_eq!(read_size("1280KiB"), Some(1_310_720));
        assert_eq!(read_size("7"), Some(7));
        for bad in ["", "s", "5", "-1s", "1.5s", "5 s", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(read_span(bad), None, "{bad}");
        }
        for bad in ["", "MiB", "1MB", "-1", "1e6", "18446744073709551615GiB"] {
            assert_eq!(read_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hidden_text_is_not_shown() {
        let secret = (hidden().read)("hunter2").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
