//! Whether copies in the archive leave room on the disk that they are to leave room on.

use crate::config::Config;
use crate::fatal::{Failure, Status};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Holds `archive_dir` to be on another filesystem than the data directory, where
/// `retention_min_free_percent` cuts off segments for the space that they take. An archive that is not
/// there is told when the first segment is to be copied. Subvolumes count as filesystems.
///
/// # Errors
/// [`Status::Config`]: each segment that was removed would take the same space in the archive, until
/// all of the log had moved there.
pub fn check(config: &Config) -> Result<(), Failure> {
    let percent = config.retention_min_free_percent;
    let Some(archive_dir) = config.archive_dir.as_ref().filter(|_| percent > 0) else {
        return Ok(());
    };
    let is_same = device_of(archive_dir)
        .is_some_and(|archive| device_above(&config.data_dir) == Some(archive));
    if !is_same {
        return Ok(());
    }
    Err(Failure::new(
        Status::Config,
        format!(
            "archive_dir {} is on the filesystem of the data directory {}, where a copy takes as much as its segment's removal frees, so retention_min_free_percent = {percent} frees nothing; mount the archive, choose a folder on another filesystem, or cut off by retention_days alone",
            archive_dir.display(),
            config.data_dir.display()
        ),
    ))
}

/// The filesystem that something lies on; `None` where nothing is there.
fn device_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.dev())
}

/// The filesystem that a folder lies on, or will once it is made.
fn device_above(path: &Path) -> Option<u64> {
    // So that a relative path, too, ends at a folder that is there.
    let path: PathBuf = std::path::absolute(path).ok()?;
    path.ancestors().find_map(device_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_on_the_data_directorys_filesystem_is_refused_where_it_is_to_free_space() {
        let dir = tempfile::tempdir().expect("a folder");
        let archive = dir.path().join("archive");
        let config = |percent, archive_dir: &Path| Config {
            data_dir: dir.path().join("not/made/yet"),
            retention_days: 1,
            retention_min_free_percent: percent,
            archive_dir: Some(archive_dir.to_owned()),
            ..Config::default()
        };
        assert_eq!(check(&config(20, &archive)), Ok(()), "it is not there");
        fs::create_dir(&archive).expect("own");
        let failure = check(&config(20, &archive)).expect_err("it frees nothing");
        assert_eq!(failure.status, Status::Config);
        for part in [&*archive.to_string_lossy(), "not/made/yet", "retention_min_free_percent = 20"]
        {
            assert!(failure.message.contains(part), "{failure}");
        }
        assert_eq!(check(&config(0, &archive)), Ok(()), "by age it keeps what is removed");
        assert_eq!(check(&config(20, Path::new("/proc"))), Ok(()), "another filesystem");
        let none = Config { archive_dir: None, ..config(20, &archive) };
        assert_eq!(check(&none), Ok(()));
        // Below the folder that the node is started in.
        let here = Config { data_dir: "data-of-no-node".into(), ..config(20, Path::new(".")) };
        assert!(check(&here).is_err());
    }
}
