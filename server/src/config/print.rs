//! The default configuration as a file that explains itself.

use super::table::Key;

/// The whole default configuration as TOML, every key with its meaning and the environment variables that set it.
#[must_use]
pub fn print() -> String {
    let mut lines = vec![
        "# Cloakroom's configuration with its defaults: the output of `cloakroomd --print-config`.".to_owned(),
        "# Environment variables count more than this file, flags more than both. An empty value means: not set.".to_owned(),
    ];
    for section in super::table() {
        if !section.name.is_empty() {
            lines.push(String::new());
            lines.extend(section.docs.iter().map(|doc| format!("#{doc}")));
            lines.push(format!("[{}]", section.name));
        }
        for key in &section.keys {
            lines.push(String::new());
            lines.extend(key.docs.iter().map(|doc| format!("#{doc}")));
            lines.push(format!("# Environment: {}", [&[key.env.as_str()], key.also].concat().join(", or with less weight than this file ")));
            lines.push(line(key));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn line(key: &Key) -> String {
    let Key { name, default, bare, .. } = key;
    // Defaults are plain ASCII without quotation marks or backslashes (a test reads them back), so TOML's basic strings need no escapes.
    if *bare { format!("{name} = {default}") } else { format!("{name} = \"{default}\"") }
}
