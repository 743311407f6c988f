//! Settings in layers: defaults < TOML file < environment < flags. Whatever has settings reads them so.

use super::wrong;
use crate::fatal::Failure;
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// Reads the layers. `T` has the defaults, and refuses keys that it does not know. Variables of the environment are keys
/// behind `prefix`; `flags` are what the command line sets, by key.
///
/// # Errors
/// [`Status::Config`](crate::fatal::Status::Config), naming the file, line and key.
pub fn read<T: DeserializeOwned>(
    file: Option<&Path>,
    prefix: &str,
    environment: impl Iterator<Item = (String, String)>,
    flags: Table,
) -> Result<T, Failure> {
    let mut table = Table::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|e| wrong(format!("configuration {} can't be read: {e}", path.display())))?;
        // Once as the whole, for messages with line and column; then as a table, to lay the other
        // layers over it.
        let of = |e: toml::de::Error| wrong(format!("configuration {}: {e}", path.display()));
        toml::from_str::<T>(&text).map_err(of)?;
        table = text.parse().map_err(of)?;
    }
    for (name, text) in environment {
        if let Some(key) = name.strip_prefix(prefix) {
            let key = key.to_ascii_lowercase();
            let value = value_of(&text);
            // Alone first, so that the message names the variable.
            Table::from_iter([(key.clone(), value.clone())])
                .try_into::<T>()
                .map_err(|e| wrong(format!("{name} in the environment: {}", e.message())))?;
            table.insert(key, value);
        }
    }
    table.extend(flags);
    table.try_into().map_err(|e: toml::de::Error| {
        wrong(format!("configuration, after environment and flags: {}", e.message()))
    })
}

/// An environment variable's text as the value it looks like: `5`, `true`, `[0, 1]`, else text.
fn value_of(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}
