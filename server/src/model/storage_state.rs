//! Playwright's storage state: checked against its shape, kept byte for byte.
//!
//! The shape is the table below. Fields that it does not name are allowed anywhere and kept. The check borrows from the document and builds nothing, so it needs no memory
//! of its own, and recursion is as deep as the table. Errors name the place, never a value.

use std::{cell::RefCell, fmt, fmt::Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{Error, Reason, Result};

/// Largest storage state of a unary call, in bytes.
pub const MAX_UNARY: usize = 3 * 1024 * 1024;
/// Largest storage state in a save, in bytes.
pub const MAX_IN_SAVE: usize = 64 * 1024 * 1024;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 64;

/// What a place in the document must be.
enum Shape {
    Text,
    Number,
    Boolean,
    /// A string that is one of these.
    Choice(&'static [&'static str]),
    /// Any object.
    Anything,
    List(&'static Shape),
    Record(&'static [Field]),
}

struct Field {
    name: &'static str,
    required: bool,
    shape: &'static Shape,
}

const fn required(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, required: true, shape }
}

const fn optional(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, required: false, shape }
}

const DOCUMENT: Shape = Shape::Record(&[required("cookies", &Shape::List(&COOKIE)), required("origins", &Shape::List(&ORIGIN))]);
const COOKIE: Shape = Shape::Record(&[
    required("name", &Shape::Text),
    required("value", &Shape::Text),
    required("domain", &Shape::Text),
    required("path", &Shape::Text),
    required("expires", &Shape::Number),
    required("httpOnly", &Shape::Boolean),
    required("secure", &Shape::Boolean),
    optional("sameSite", &Shape::Choice(&["Strict", "Lax", "None"])),
]);
const ORIGIN: Shape = Shape::Record(&[
    required("origin", &Shape::Text),
    required("localStorage", &Shape::List(&ENTRY)),
    optional("sessionStorage", &Shape::List(&ENTRY)),
    optional("indexedDB", &Shape::List(&Shape::Anything)),
]);
const ENTRY: Shape = Shape::Record(&[required("name", &Shape::Text), required("value", &Shape::Text)]);

impl Shape {
    fn name(&self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::Number => "a finite number".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            Self::Anything | Self::Record(_) => "an object".to_owned(),
            Self::List(_) => "an array".to_owned(),
        }
    }
}

/// Checks a document of at most `max` bytes.
///
/// # Errors
/// `STORAGE_STATE_INVALID`, naming the place, such as `storage_state.cookies[3].domain`, and what is needed there.
pub fn validate(document: &[u8], max: usize) -> Result<()> {
    if document.len() > max {
        return Err(invalid("", &format!("has {} bytes; it needs at most {max}", document.len())));
    }
    let text = std::str::from_utf8(document).map_err(|error| invalid("", &format!("is not UTF-8 at byte {}", error.valid_up_to())))?;
    check_bytes(document)?;
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let checked = Check { shape: &DOCUMENT, place: &place }.deserialize(&mut json).and_then(|()| json.end());
    checked.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => invalid(&place.path(), &place.problem()),
            _ => invalid("", &format!("is not JSON at line {line}, column {column}")),
        }
    })
}

fn invalid(place: &str, problem: &str) -> Error {
    let field = format!("storage_state{place}");
    let message = format!("{field} {problem}; it must be what Playwright's storageState() gives");
    Error::new(Reason::StorageStateInvalid, message).with_field(field)
}

/// Refuses what is nested too deep before anything recurses into it, and raw control characters in strings, which reading strings as bytes would let through.
fn check_bytes(document: &[u8]) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in document.iter().enumerate() {
        match byte {
            0x20.. if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            0..0x20 if in_string => return Err(invalid("", &format!("is not JSON: it has a raw control character within a string at byte {at}"))),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(invalid("", &format!("is nested deeper than {MAX_DEPTH} at byte {at}")));
        }
    }
    Ok(())
}

enum Step {
    Name(&'static str),
    At(usize),
}

/// Where the check stands. After an error it stays where that was.
#[derive(Default)]
struct Place {
    steps: RefCell<Vec<Step>>,
    problem: RefCell<String>,
}

impl Place {
    fn path(&self) -> String {
        self.steps.borrow().iter().fold(String::new(), |mut path, step| {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Name(name) => write!(path, ".{name}"),
                Step::At(index) => write!(path, "[{index}]"),
            };
            path
        })
    }

    fn problem(&self) -> String {
        self.problem.borrow().clone()
    }

    fn within<T, E>(&self, step: Step, check: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.steps.borrow_mut().push(step);
        let done = check()?;
        self.steps.borrow_mut().pop();
        Ok(done)
    }

    /// Notes what is wrong here. The error itself says nothing, for serde's messages show values.
    fn fail<E: serde::de::Error>(&self, problem: String) -> E {
        *self.problem.borrow_mut() = problem;
        E::custom("")
    }
}

/// Checks one value against a shape.
#[derive(Clone, Copy)]
struct Check<'a> {
    shape: &'static Shape,
    place: &'a Place,
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        *self.place.problem.borrow_mut() = format!("is not {}", self.shape.name());
        match self.shape {
            // As bytes, because strings of a browser may have lone surrogates, which are no UTF-8 once their escapes are resolved.
            Shape::Text | Shape::Choice(_) => value.deserialize_bytes(self),
            Shape::Number => value.deserialize_f64(self),
            Shape::Boolean => value.deserialize_bool(self),
            Shape::Anything | Shape::Record(_) => value.deserialize_map(self),
            Shape::List(_) => value.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape.name())
    }

    fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<(), E> {
        match self.shape {
            Shape::Choice(choices) if !choices.iter().any(|choice| choice.as_bytes() == text) => Err(E::custom("")),
            Shape::Text | Shape::Choice(_) => Ok(()),
            _ => Err(E::custom("")),
        }
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        if number.is_finite() { Ok(()) } else { Err(E::custom("")) }
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Shape::List(shape) = self.shape else { return Err(A::Error::custom("")) };
        let place = self.place;
        for index in 0.. {
            let check = Check { shape, place };
            if place.within(Step::At(index), || list.next_element_seed(check))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields: &[Field] = if let Shape::Record(fields) = self.shape { fields } else { &[] };
        let mut seen = vec![false; fields.len()];
        while let Some(known) = map.next_key_seed(Name(fields))? {
            let Some(at) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (Field { name, shape, .. }, place) = (&fields[at], self.place);
            place.within(Step::Name(name), || {
                if std::mem::replace(&mut seen[at], true) {
                    return Err(place.fail("is there twice".to_owned()));
                }
                map.next_value_seed(Check { shape, place })
            })?;
        }
        match fields.iter().zip(seen).find(|(field, seen)| field.required && !seen) {
            None => Ok(()),
            Some((field, _)) => Err(self.place.fail(format!("has no `{}`", field.name))),
        }
    }
}

/// Tells which of these fields a key names; none for unknown ones.
struct Name(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Option<usize>, D::Error> {
        key.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|field| field.name.as_bytes() == name))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        self.visit_bytes(name.as_bytes())
    }
}

#[cfg(test)]
mod tests;
