//! The Lua scripts, and commands that run them.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Script};

/// A script that the server knows by its hash once it has seen it.
#[derive(Debug)]
pub(super) struct Lua {
    source: &'static str,
    hash: LazyLock<String>,
}

macro_rules! lua {
    ($(#[$doc:meta])* $name:ident, $($file:literal)+) => {
        $(#[$doc])*
        pub(super) static $name: Lua = {
            const SOURCE: &str = concat!($(include_str!($file)),+);
            Lua { source: SOURCE, hash: LazyLock::new(|| Script::new(SOURCE).get_hash().to_owned()) }
        };
    };
}

lua! {
    /// Applies a transaction.
    COMMIT, "prologue.lua" "commit.lua"
}
lua! {
    /// Reads a log's head and notices a new history.
    TOUCH, "prologue.lua" "touch.lua"
}
lua! {
    /// Reads records.
    GET, "get.lua"
}
lua! {
    /// Reads an index from a position.
    SCAN, "scan.lua"
}
lua! {
    /// Reads a part of a log.
    EVENTS, "events.lua"
}
lua! {
    /// Reads which records are past their expiry.
    EXPIRED, "expired.lua"
}
lua! {
    /// Makes an object visible.
    COMMIT_OBJECT, "objects/commit.lua"
}
lua! {
    /// Drops what a failed write sent.
    ABANDON_OBJECT, "objects/abandon.lua"
}
lua! {
    /// Deletes an object.
    DELETE_OBJECT, "objects/delete.lua"
}

impl Lua {
    /// The command that runs the script by its hash.
    pub(super) fn call(&self, keys: &Args, args: &Args) -> Cmd {
        let mut cmd = Cmd::with_capacity(3 + keys.len() + args.len(), 64 + keys.size() + args.size());
        cmd.arg("EVALSHA").arg(self.hash.as_str()).arg(keys.len());
        for bytes in keys.iter().chain(args.iter()) {
            cmd.arg(bytes);
        }
        cmd
    }

    /// The same command with the script itself, for a server that does not know it: a new one, or after SCRIPT FLUSH. It runs where the keys are, and the server knows the
    /// script from then on.
    pub(super) fn call_with_source(&self, call: &Cmd) -> Cmd {
        let mut cmd = Cmd::with_capacity(call.args_iter().len(), self.source.len() + call.get_packed_command().len());
        cmd.arg("EVAL").arg(self.source);
        for arg in call.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                cmd.arg(bytes);
            }
        }
        cmd
    }
}

/// Arguments in a row, in one buffer.
#[derive(Debug, Default)]
pub(super) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub(super) fn push(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.bytes.extend_from_slice(arg.as_ref());
        self.ends.push(self.bytes.len());
        self
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        self.push(number.to_string())
    }

    /// Adds a count or a position.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.push(count.to_string())
    }

    /// Adds all of another row.
    pub(super) fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn size(&self) -> usize {
        self.bytes.len() + 16 * self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for Args {
    fn from_iter<I: IntoIterator<Item = A>>(items: I) -> Self {
        let mut args = Self::new();
        for item in items {
            args.push(item);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cmd: &Cmd) -> Vec<String> {
        let text = |arg| match arg {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        cmd.args_iter().map(text).collect()
    }

    #[test]
    fn both_commands_differ_in_how_they_name_the_script_alone() {
        let keys: Args = ["k1", "k2"].into_iter().collect();
        let mut args = Args::new();
        args.push("").number(-7);
        let mut more = Args::new();
        more.push("x").count(3);
        args.append(&more);
        let call = GET.call(&keys, &args);
        let shown = texts(&call);
        assert_eq!(shown[1].len(), 40);
        assert_eq!(shown[2..], ["2", "k1", "k2", "", "-7", "x", "3"]);
        let with_source = texts(&GET.call_with_source(&call));
        assert_eq!(with_source[..2], ["EVAL", GET.source]);
        assert_eq!(with_source[2..], shown[2..]);
    }
}
