//! A node's clock of the day, set while it runs.

use crate::node::{Node, Setup};
use catraca_wire::client::now_ns;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A node's own clock of the day, which can be set: libfaketime stands between the program and the
/// kernel, and leaves the other clock as it is.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Of a node that is to be started.
    ///
    /// # Panics
    /// Without libfaketime.
    pub fn of(setup: &mut Setup, folder: &Path) -> Self {
        let library = std::fs::read_dir("/usr/lib").expect("a folder").flatten();
        let library = library
            .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists());
        let library = library
            .expect("libfaketime is needed: `scripts/setup.sh tests`, or the package faketime");
        let clock = Self { file: folder.join("clock") };
        clock.write(0);
        setup.wrapper = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.file.display()),
            // Looked at each second of the real time.
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        clock
    }

    /// Sets it, to so many seconds off the real time. A node that runs sees it within a second.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn write(&self, offset_s: i64) {
        // The file is never there in part.
        let whole = self.file.with_extension("new");
        std::fs::write(&whole, format!("{offset_s:+}\n")).expect("written");
        std::fs::rename(whole, &self.file).expect("the same folder");
    }

    /// Sets it, and waits until the node sees it.
    ///
    /// # Panics
    /// When the node does not see it.
    pub fn set(&self, node: &Node, offset_s: i64) {
        self.write(offset_s);
        let mut client = node.client();
        let near = Duration::from_secs(600).as_nanos() as u64;
        node.wait_until("the clock was set", |_| {
            let shown = client.ping().expect("alive");
            shown.abs_diff(now_ns().saturating_add_signed(offset_s * 1_000_000_000)) < near
        });
    }
}
