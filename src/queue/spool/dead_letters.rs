//! The dead letters of a spool: files in `parked/`, whose names say when, why, and after how many receives.
//!
//! A replay is one rename back into `new/`, as if it were put now, with a mark in its name: a message is in one of the two, whenever the process dies. A file that another
//! process took meanwhile is passed over.

use std::{
    fs::{self, File},
    io,
};

use bytes::Bytes;

use super::{
    Result, Spool,
    names::{self, Held, Waiting},
    names_in, read_whole, unavailable,
};
use crate::{
    clock::UnixMillis,
    queue::{Parked, Unpark},
};

/// The name of a message that is parked at `now`.
pub(super) fn name(now: UnixMillis, held: &Held<'_>, reason: &str) -> String {
    format!("{:013}-{}.{reason}", now.0, held.name())
}

/// When it was parked, the message, and why.
fn parse(name: &str) -> Option<(UnixMillis, Held<'_>, &str)> {
    let (parked, rest) = name.split_once('-')?;
    let (held, reason) = rest.rsplit_once('.')?;
    Some((UnixMillis(parked.parse().ok()?), Held::parse(held)?, reason))
}

impl Spool {
    /// The parked messages, oldest first.
    pub(super) fn parked(&self, max: usize) -> Result<Vec<Parked>> {
        let mut names = names_in(&self.dir.join("parked"))?;
        names.sort_unstable();
        let found = names.into_iter().filter_map(|name| {
            let (parked, held, reason) = parse(&name)?;
            let bytes = fs::metadata(self.parked_path(&name)).ok()?.len();
            Some(Parked { reason: reason.to_owned(), parked: Some(parked), bytes, receive_count: held.receives, id: name.clone() })
        });
        Ok(found.take(max).collect())
    }

    /// Replays or drops the parked messages of these names; an error that comes after the first is for the next call.
    pub(super) fn unpark(&self, names: Vec<String>, what: Unpark) -> Result<Vec<Bytes>> {
        let mut done = Vec::with_capacity(names.len());
        for name in names {
            let path = self.parked_path(&name);
            let Some((_, held, _)) = parse(&name) else { continue };
            let now = UnixMillis::now();
            let taken = File::open(&path).and_then(read_whole).and_then(|wire| {
                match what {
                    Unpark::Replay => {
                        let id = names::replayed(held.id, now);
                        fs::rename(&path, self.new_path(&Waiting { due: now, id: &id, receives: 0 }.name()))?
                    }
                    Unpark::Drop => fs::remove_file(&path)?,
                }
                Ok(wire.unwrap_or_default())
            });
            match taken {
                Ok(wire) => done.push(Bytes::from(wire)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) if !done.is_empty() => break,
                Err(error) => return Err(unavailable("take a dead letter from")(error)),
            }
        }
        Ok(done)
    }
}
