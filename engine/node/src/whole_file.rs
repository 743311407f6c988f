//! Files that have their name only when they are whole: written beside their place under another
//! name, then renamed over it.
//!
//! At every moment, and after any crash, the name holds the old file or the whole new one.
//! [`WholeFile::finish_durably`] makes the new one survive a power cut as well.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of files that anybody on the machine may read.
pub const PUBLIC: u32 = 0o644;
/// Mode of files that name people: for the owner and the group.
pub const GROUP: u32 = 0o640;
/// Mode of secrets: for the owner alone.
pub const PRIVATE: u32 = 0o600;

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 256 * 1024;
/// Bytes that [`WholeFile::write_in_pieces`] writes before it syncs them, at most: the log's own writes
/// wait behind a longer flush.
pub const PIECE_LEN: usize = 256 * 1024;

/// A file being made. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct WholeFile {
    /// `None` once finished.
    out: Option<BufWriter<File>>,
    /// What is written, and what it becomes. The same where the place is a device or a pipe, which
    /// can't be replaced.
    making: PathBuf,
    path: PathBuf,
    /// Bytes that [`Self::write_in_pieces`] wrote since the last sync, fewer than [`PIECE_LEN`].
    unsynced_len: usize,
}

impl WholeFile {
    /// Begins a file that will be at `path`, with `mode` less what the umask takes. Where there is
    /// a link, the file that it leads to is replaced; a device or a pipe is written as it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let special = fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
        if special {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Self {
                out: Some(buffered(file)),
                making: path.to_owned(),
                path: path.to_owned(),
                unsynced_len: 0,
            });
        }
        let path = target_of(path);
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let making = folder(&path).join(temporary_name(name));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&making)?;
        Ok(Self { out: Some(buffered(file)), making, path, unsynced_len: 0 })
    }

    /// Where the bytes lie before the file is finished: to be checked, for example.
    pub fn making(&self) -> &Path {
        &self.making
    }

    /// Writes bytes again that were written first: a head that is known at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_at_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.out.as_ref().map_or(Ok(()), |out| out.get_ref().write_all_at(bytes, 0))
    }

    /// Brings to the disk what was written so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Some(out) = &self.out {
            out.get_ref().sync_data()?;
        }
        self.unsynced_len = 0;
        Ok(())
    }

    /// Writes, and brings each [`PIECE_LEN`] to the disk before it goes on. A file written otherwise is
    /// written back by the kernel in one burst, long after, and other files' writes wait for that.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_in_pieces(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(PIECE_LEN - self.unsynced_len);
            let (piece, behind) = rest.split_at(len);
            self.write_all(piece)?;
            self.unsynced_len += len;
            if self.unsynced_len == PIECE_LEN {
                self.sync()?;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// What the system says; what was under the name is there still.
    pub fn finish(mut self) -> io::Result<()> {
        self.take_place(false)
    }

    /// Gives the file its name, and returns when content and name would survive a power cut.
    ///
    /// # Errors
    /// What the system says; the old file or the whole new one is there then.
    pub fn finish_durably(mut self) -> io::Result<()> {
        self.take_place(true)
    }

    fn take_place(&mut self, durably: bool) -> io::Result<()> {
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        if self.is_special() {
            self.out = None;
            return Ok(());
        }
        if let Some(out) = self.out.as_ref().filter(|_| durably) {
            out.get_ref().sync_all()?;
        }
        fs::rename(&self.making, &self.path)?;
        self.out = None;
        if durably { sync_dir(folder(&self.path)) } else { Ok(()) }
    }

    fn is_special(&self) -> bool {
        self.making == self.path
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        let Some(out) = self.out.take() else { return };
        // What is gathered is of no use any more.
        drop(out.into_parts());
        if !self.is_special() {
            // Best effort: whatever ended the writing is the error that matters.
            let _ = fs::remove_file(&self.making);
        }
    }
}

/// Writes a whole file with this content; see [`WholeFile::create`].
///
/// # Errors
/// What the system says; what was under the name is there still.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path, mode)?;
    file.write_all(content)?;
    file.finish()
}

/// The same, and returns when content and name would survive a power cut.
///
/// # Errors
/// What the system says; the old file or the whole new one is there then.
pub fn write_durably(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path, mode)?;
    file.write_all(content)?;
    file.finish_durably()
}

/// Removes what a killed process left half-made in a folder that nobody else writes to.
pub fn clear_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let made_here = name.to_str().is_some_and(|name| {
            let number = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".tmp"))
                .and_then(|name| name.rsplit_once('.'));
            number.is_some_and(|(_, number)| {
                number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit())
            })
        });
        // What builds before this one left: `chain.key.new` holds a secret.
        let made_before = name.to_str().is_some_and(|name| {
            [".key.new", ".json.new", ".snap.new"].iter().any(|end| name.ends_with(end))
        });
        if made_here || made_before {
            // Best effort: it takes space, and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes what was created, renamed or removed in a folder durable.
///
/// # Errors
/// What the system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(BUFFER_LEN, file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a path leads: through a link, also to a file that is not there yet.
fn target_of(path: &Path) -> PathBuf {
    if let Ok(target) = fs::canonicalize(path) {
        return target;
    }
    match fs::read_link(path) {
        Ok(target) => folder(path).join(target),
        Err(_) => path.to_owned(),
    }
}

/// `.NAME.RANDOM.tmp`: hidden, and of this file alone, also where several machines write to one
/// folder.
fn temporary_name(name: &std::ffi::OsStr) -> PathBuf {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    let random: u64 = u64::from_le_bytes(crate::random::bytes());
    temporary.push(format!(".{random:016x}.tmp"));
    temporary.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("out");
        fs::write(&path, "old").expect("written");
        let mut file = WholeFile::create(&path, PRIVATE).expect("begun");
        file.write_all(b"half").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        drop(file);
        assert_eq!(names(dir.path()), ["out"], "nothing is left behind");
        write_durably(&path, PRIVATE, b"new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, PRIVATE);
        fs::write(dir.path().join(".out.0123456789abcdef.tmp"), "half").expect("written");
        fs::write(dir.path().join("chain.key.new"), "half").expect("written");
        clear_leftovers(dir.path());
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn what_is_written_in_pieces_is_on_the_disk_but_for_the_last_piece() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("out");
        let content: Vec<u8> = (0..5 * PIECE_LEN + 77).map(|i| (i % 251) as u8).collect();
        let mut file = WholeFile::create(&path, PRIVATE).expect("begun");
        let mut written: usize = 0;
        for len in [1, PIECE_LEN - 1, 3 * PIECE_LEN + 5, 100, usize::MAX] {
            let until = written.saturating_add(len).min(content.len());
            file.write_in_pieces(&content[written..until]).expect("written");
            written = until;
            assert_eq!(file.unsynced_len, written % PIECE_LEN);
            // The pieces before are in the file, not in the memory of this process.
            let in_file = fs::metadata(file.making()).expect("there").len() as usize;
            assert!(in_file >= written - written % PIECE_LEN, "{in_file} of {written}");
        }
        assert!(!path.exists());
        file.finish().expect("finished");
        assert!(fs::read(&path).expect("there") == content);
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_written_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").expect("written");
        symlink(&target, &link).expect("a link");
        write(&link, PUBLIC, b"new").expect("written");
        assert_eq!(fs::read_to_string(&target).expect("there"), "new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        let later = dir.path().join("later");
        symlink("not-there-yet", &later).expect("a link");
        write(&later, PUBLIC, b"first").expect("written");
        assert_eq!(
            fs::read_to_string(dir.path().join("not-there-yet")).expect("where the link leads"),
            "first"
        );
        write(Path::new("/dev/null"), PUBLIC, b"gone").expect("a device takes it");
        write_durably(Path::new("/dev/null"), PUBLIC, b"gone")
            .expect("it can't be synced, nor need be");
        let full = write(Path::new("/dev/full"), PUBLIC, b"no room").expect_err("full");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let folder = write(dir.path(), PUBLIC, b"").expect_err("a folder");
        assert_eq!(folder.kind(), io::ErrorKind::IsADirectory);
    }
}
