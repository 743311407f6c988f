//! The files of a comparison. They are begun before the work, so that a place that can't be written is told at
//! once, and have their names when they are whole.

use super::{Report, page, picture};
use catraca_node::fatal::{Failure, Status};
use catraca_node::whole_file::{GROUP, WholeFile};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One file being made.
#[derive(Debug)]
struct Begun {
    file: WholeFile,
    path: PathBuf,
    what: &'static str,
}

/// The files that are asked for.
#[derive(Debug, Default)]
pub struct Files {
    page: Option<Begun>,
    picture: Option<Begun>,
}

impl Files {
    /// Begins them.
    ///
    /// # Errors
    /// One can't be written; both are one file, or one is the policy that is read.
    pub fn begin(
        page: Option<&Path>,
        picture: Option<&Path>,
        policy: Option<&Path>,
    ) -> Result<Self, Failure> {
        if let Some(path) = clash(page, policy).or_else(|| clash(picture, policy)) {
            let why = format!("{}: this is the policy, and would be written over", path.display());
            return Err(Failure::new(Status::Usage, why));
        }
        if let Some(path) = clash(page, picture) {
            let why = format!("{}: give --html and --svg a file each", path.display());
            return Err(Failure::new(Status::Usage, why));
        }
        Ok(Self { page: begin(page, "page")?, picture: begin(picture, "picture")? })
    }

    /// Whether any is asked for.
    pub const fn is_empty(&self) -> bool {
        self.page.is_none() && self.picture.is_none()
    }

    /// Writes them.
    ///
    /// # Errors
    /// One could not be written; what was under its name is there still.
    pub fn write(self, report: &Report<'_>) -> Result<(), Failure> {
        if let Some(begun) = self.page {
            begun.finish(&page::page(report))?;
        }
        if let Some(begun) = self.picture {
            begun.finish(&picture::file(report))?;
        }
        Ok(())
    }
}

impl Begun {
    fn finish(self, content: &str) -> Result<(), Failure> {
        let Self { mut file, path, what } = self;
        let written = file.write_all(content.as_bytes()).and_then(|()| file.finish());
        written.map_err(|error| cannot(&path, what, &error))
    }
}

fn begin(path: Option<&Path>, what: &'static str) -> Result<Option<Begun>, Failure> {
    let Some(path) = path else { return Ok(None) };
    // It names payments, as an export does.
    let file = WholeFile::create(path, GROUP).map_err(|error| cannot(path, what, &error))?;
    Ok(Some(Begun { file, path: path.to_owned(), what }))
}

fn cannot(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: the {what} can't be written: {error}", path.display()))
}

/// The first, where both are one file.
fn clash<'p>(a: Option<&'p Path>, b: Option<&Path>) -> Option<&'p Path> {
    a.filter(|a| b.is_some_and(|b| is_same(a, b)))
}

/// Whether two paths lead to one file, which need not be there yet.
fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        std::fs::canonicalize(&path).unwrap_or_else(|_| {
            let folder = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
            folder.zip(path.file_name()).map_or(path.clone(), |(folder, name)| folder.join(name))
        })
    };
    place(a) == place(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::testing::with_report;
    use std::fs;

    #[test]
    fn files_appear_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let (page, picture) = (dir.path().join("a.html"), dir.path().join("a.svg"));
        fs::write(&page, "old").expect("own");
        let files = Files::begin(Some(&page), Some(&picture), None).expect("writable");
        assert!(!files.is_empty() && !picture.exists());
        drop(files);
        assert_eq!(fs::read_to_string(&page).expect("there"), "old");
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "nothing is left behind");
        let files = Files::begin(Some(&page), Some(&picture), None).expect("writable");
        with_report(|report| files.write(report).expect("writable"));
        assert!(fs::read_to_string(&page).expect("there").starts_with("<!DOCTYPE html>"));
        assert!(fs::read_to_string(&picture).expect("there").starts_with("<?xml"));
    }

    #[test]
    fn what_would_be_lost_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let policy = dir.path().join("policy.toml");
        fs::write(&policy, "").expect("own");
        let same = dir.path().join(".").join("policy.toml");
        let told = |page: &Path, picture: Option<&Path>| {
            let failure = Files::begin(Some(page), picture, Some(&policy)).expect_err("refused");
            format!("{failure:?}")
        };
        assert!(told(&same, None).contains("this is the policy"));
        let new = dir.path().join("new");
        assert!(told(&new, Some(&dir.path().join("./new"))).contains("a file each"));
        assert!(told(dir.path(), None).contains("the page can't be written"));
        assert!(
            told(&new, Some(&dir.path().join("none/a.svg"))).contains("none/a.svg: the picture")
        );
        assert!(!new.exists());
    }
}
