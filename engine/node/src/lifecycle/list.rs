//! Which list a node starts with: the configured one, or the last one loaded.

use crate::fatal::{Failure, Status};
use crate::list_files;
use catraca_core::blacklist::{Snapshot, SnapshotError, fitness};
use std::path::Path;
use std::sync::Arc;

/// What the configuration says of the list, and the day on which it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Configured<'a> {
    /// The snapshot file.
    pub path: Option<&'a Path>,
    /// Today in the node's time zone, in days since 1970-01-01.
    pub today: u16,
    /// Share of the entries that a list may lose against the last one loaded.
    pub max_loss_percent: u64,
}

/// A standby's list: the one that the log says is in use, or else the configured one. One that is
/// missing comes from the primary.
///
/// # Errors
/// As [`choose`].
pub fn of_standby(
    lists_dir: &Path,
    configured: &Configured<'_>,
    loaded_id: u64,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    if loaded_id == 0 {
        return choose(lists_dir, configured, 0);
    }
    let path = list_files::kept_path(lists_dir, loaded_id);
    Ok(list_files::open(&path).ok().map(Arc::new))
}

/// The newer of the configured snapshot and the last one loaded: neither an old file in the
/// configuration nor an old load wins. A newer one is held to what a load is: a restart must not
/// free whom a load would not.
///
/// # Errors
/// A list that can't be used, and no other that may be used for it.
pub fn choose(
    lists_dir: &Path,
    configured: &Configured<'_>,
    loaded_id: u64,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    let unusable = |e: String| Failure::new(Status::Config, format!("blacklist: {e}"));
    let named = configured
        .path
        .map(|path| list_files::take_in(path, lists_dir))
        .transpose()
        .map_err(unusable)?;
    if loaded_id == 0 {
        if let (Some(named), Some(path)) = (&named, configured.path) {
            fitness::hold_to_day(named, configured.today)
                .map_err(|unfit| unusable(format!("{}: {unfit}", path.display())))?;
        }
        return Ok(named.map(Arc::new));
    }
    let loaded = list_files::open(&list_files::kept_path(lists_dir, loaded_id));
    let chosen = match (loaded, named) {
        (Ok(loaded), Some(named)) => newer(loaded, named, configured),
        (Ok(loaded), None) => loaded,
        // Written by an earlier build. Whoever built the list again and named it knows.
        (Err(error @ SnapshotError::Version { .. }), Some(named)) => {
            tracing::warn!(%error, "the configured blacklist takes the place of the one last loaded");
            named
        }
        (Err(error @ SnapshotError::Version { .. }), None) => {
            return Err(unusable(format!(
                "the list that the log says is in use: {error} with `catraca blacklist build`, and start the node with \
                 --blacklist FILE"
            )));
        }
        (Err(error), _) => {
            return Err(unusable(format!(
                "the list that the log says is in use: {error}; start the node with --blacklist FILE, where FILE is that very list \
                 ({loaded_id:016x} in `catraca blacklist inspect FILE`), or copy it from the other node's folder lists/"
            )));
        }
    };
    Ok(Some(Arc::new(chosen)))
}

/// Of two sound lists.
fn newer(loaded: Snapshot, named: Snapshot, configured: &Configured<'_>) -> Snapshot {
    if loaded.built_at_ns() > named.built_at_ns() {
        tracing::warn!(
            "the configured blacklist is older than the one last loaded, which stays in use"
        );
        return loaded;
    }
    // A list that is in use already was taken with open eyes.
    if loaded.id() == named.id() {
        return named;
    }
    match fitness::hold(&loaded, &named, configured.today, configured.max_loss_percent) {
        Ok(()) => named,
        Err(unfit) => {
            let file = configured.path.unwrap_or(Path::new("")).display();
            tracing::warn!(
                %unfit, %file,
                "the configured blacklist is NOT used: the one last loaded stays in use; if it is right, force it on the running node \
                 with `catraca blacklist load --force FILE`"
            );
            loaded
        }
    }
}
