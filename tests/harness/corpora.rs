//! Real mail of other people's test suites. It lies beside the repository and is never part of it; a test that finds none
//! says that it was skipped.

use std::path::{Path, PathBuf};

use crate::{repository, skipped};

/// The files below a folder of the corpora, sorted; `None`, said aloud, if there are no corpora.
///
/// # Panics
/// If the folder has no files, or with `CI=true` if it is missing.
pub fn corpus(name: &str) -> Option<Vec<PathBuf>> {
    let folder = repository().join("../shared/corpora").join(name);
    if !folder.is_dir() {
        skipped("no corpora beside the repository");
        return None;
    }
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    Some(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_notice = path
            .file_stem()
            .is_some_and(|name| matches!(name.to_string_lossy().to_uppercase().as_str(), "README" | "LICENSE" | "LICENCE" | "COPYING"));
        if path.is_dir() {
            collect(&path, files);
        } else if !is_notice {
            files.push(path);
        }
    }
}
