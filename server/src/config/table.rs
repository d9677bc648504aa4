//! One table, from which everything about the configuration comes: types, defaults, documentation, names in files and environment.

/// Declares the configuration. The first group becomes [`Config`](super::Config) and has the keys outside any section; each further group becomes a
/// struct, a section of the file, and a field of `Config`. An entry reads `name: Type = "default", kind, also [other environment variables];`.
macro_rules! settings {
    (
        $(#[doc = $root_doc:literal])* struct $Root:ident {
            $($(#[doc = $root_key_doc:literal])* $root_key:ident: $root_type:ty = $root_default:literal, $root_kind:expr;)*
        }
        $(
            $(#[doc = $doc:literal])* struct $Section:ident in $section:ident {
                $($(#[doc = $key_doc:literal])* $key:ident: $type:ty = $default:literal, $kind:expr $(, also [$($also:literal),*])?;)*
            }
        )*
    ) => {
        $(#[doc = $root_doc])*
        #[derive(Clone, Debug)]
        pub struct $Root {
            $($(#[doc = $root_key_doc])* pub $root_key: $root_type,)*
            $($(#[doc = $doc])* pub $section: $Section,)*
        }

        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug)]
            pub struct $Section {
                $($(#[doc = $key_doc])* pub $key: $type,)*
            }
        )*

        /// Every section of the table with its keys.
        fn table() -> Vec<$crate::config::table::Section> {
            use $crate::config::table::{Key, Section};
            vec![
                Section { name: "", docs: &[$($root_doc),*], keys: vec![$(Key::new("", stringify!($root_key), &[$($root_key_doc),*], $root_default, &$root_kind, &[])),*] },
                $(Section {
                    name: stringify!($section),
                    docs: &[$($doc),*],
                    keys: vec![$(Key::new(stringify!($section), stringify!($key), &[$($key_doc),*], $default, &$kind, &[$($($also),*)?])),*],
                }),*
            ]
        }

        impl $Root {
            /// Reads every key from what the sources gave.
            fn read(values: &$crate::config::source::Values) -> $crate::Result<Self> {
                Ok(Self {
                    $($root_key: values.read(stringify!($root_key), &$root_kind)?,)*
                    $($section: $Section { $($key: values.read(concat!(stringify!($section), ".", stringify!($key)), &$kind)?,)* },)*
                })
            }
        }
    };
}
pub(super) use settings;

use super::kind::Kind;

/// A section of the configuration file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name; empty for the keys outside any section.
    pub(super) name: &'static str,
    /// What it is about, a line each.
    pub(super) docs: &'static [&'static str],
    /// Its keys.
    pub(super) keys: Vec<Key>,
}

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name within its section.
    pub(super) name: &'static str,
    /// Its full name, such as `metadata.engine`.
    pub(super) path: String,
    /// The environment variable that sets it.
    pub(super) env: String,
    /// Other environment variables that set it, weaker than the file, the first one first.
    pub(super) also: &'static [&'static str],
    /// What it means, a line each.
    pub(super) docs: &'static [&'static str],
    /// Its default as text.
    pub(super) default: &'static str,
    /// Stands in TOML without quotation marks.
    pub(super) bare: bool,
}

impl Key {
    pub(super) fn new<T>(
        section: &str,
        name: &'static str,
        docs: &'static [&'static str],
        default: &'static str,
        kind: &Kind<T>,
        also: &'static [&'static str],
    ) -> Self {
        let (path, env) = match section {
            "" => (name.to_owned(), format!("CLOAKROOM_{name}")),
            _ => (format!("{section}.{name}"), format!("CLOAKROOM_{section}_{name}")),
        };
        Self { name, path, env: env.to_ascii_uppercase(), also, docs, default, bare: kind.bare }
    }
}
