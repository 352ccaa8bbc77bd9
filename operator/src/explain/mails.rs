//! Where saved mail comes from: a file, standard input, a Maildir, a folder of files, an mbox.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use mail_parser::{HeaderName, MessageParser, mailbox::mbox::MessageIterator};
use replyfleet::clock::UnixMillis;

/// The largest file that is read as one mail; beyond it, and beyond the worker's own limit, there is nothing to learn.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// Saved mail.
pub(super) enum Saved {
    /// One mail.
    One(Vec<u8>),
    /// Several, each with its name: of its file, or its number in an mbox. Read one at a time.
    Many(Box<dyn Iterator<Item = anyhow::Result<(String, Vec<u8>)>> + Send>),
}

/// Opens what `path` names; `-` is one mail on standard input.
pub(super) fn open(path: &Path) -> anyhow::Result<Saved> {
    if path.as_os_str() == "-" {
        let mut mail = Vec::new();
        std::io::stdin().take(FILE_BYTES_MAX).read_to_end(&mut mail).context("cannot read standard input")?;
        return Ok(Saved::One(mail));
    }
    if path.is_dir() {
        let files = files(path)?;
        return Ok(Saved::Many(Box::new(files.into_iter().map(|file| read(&file).map(|mail| (file.display().to_string(), mail))))));
    }
    if !is_mbox(path)? {
        return read(path).map(Saved::One);
    }
    let mbox = MessageIterator::new(BufReader::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?));
    let name = path.display().to_string();
    let mails = mbox.enumerate().map(move |(index, mail)| {
        let number = index + 1;
        let mail = mail.map_err(|error| anyhow::anyhow!("{name}: mail {number} cannot be read: {error:?}"))?;
        Ok((format!("{name}#{number}"), mail.unwrap_contents()))
    });
    Ok(Saved::Many(Box::new(mails)))
}

/// An mbox begins with a From line, which no header has: a space stands where a field has its colon.
fn is_mbox(path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; 5];
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file.read_exact(&mut start).is_ok() && &start == b"From ")
}

/// The mails of a Maildir (its `new` and `cur`), or all files of a folder and those below it, in the order of their names.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_maildir = folder.join("cur").is_dir() && folder.join("new").is_dir();
    let roots = if is_maildir { vec![folder.join("new"), folder.join("cur")] } else { vec![folder.to_owned()] };
    let mut files = Vec::new();
    for root in roots {
        collect(&root, &mut files)?;
    }
    if files.is_empty() {
        bail!("{}: there is no file in this folder", folder.display());
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        match entry.file_type()? {
            _ if is_hidden => {}
            kind if kind.is_dir() => collect(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {} // a link could lead in circles
        }
    }
    Ok(())
}

/// When a mail came, as the last server wrote it: the date of the topmost Received field.
pub(super) fn arrival(mail: &[u8]) -> Option<UnixMillis> {
    let parsed = MessageParser::new().header_received(HeaderName::Received).parse_headers(mail)?;
    let seconds = parsed.received()?.date()?.to_timestamp();
    u64::try_from(seconds).ok().map(|seconds| UnixMillis(seconds.saturating_mul(1_000)))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut mail = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut mail).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(mail)
}
