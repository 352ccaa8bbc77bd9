//! Whether a file holds what was written: its name says how long it is, and how the SHA-256 of its bytes begins.
//!
//! Pure: no file is touched here. A message's bytes and its name become durable together (`group`). A power cut before that
//! can leave the name alone, or with a part of the bytes, or with blocks that were never written and read as NULs: ext4 gives a
//! file its length before the bytes are on the disk. Nobody was told that such a file is accepted. One that is as long as it
//! should be and holds other bytes was damaged later, and may have been accepted.
//!
//! The hash is not keyed, but what it is made of is: an envelope holds its request key, which nobody can guess.

use aws_lc_rs::digest::{SHA256, digest};

use crate::keyed::hex;

/// 64 bits tell chance from intent well enough: nobody gains by forging a file that he may write anyway.
const DIGEST_BYTES: usize = 8;
/// No file system gives out smaller pieces of a disk.
const SECTOR_BYTES: usize = 512;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It holds what was written, or its name, of an earlier version, does not say what that was. Then its bytes were
    /// durable before its name.
    Whole,
    /// It was cut before it was accepted.
    Unfinished,
    /// It holds other bytes.
    Damaged,
}

/// What a name says of the bytes.
pub(super) fn seal(wire: &[u8]) -> String {
    format!("{:x}_{}", wire.len(), hex(&digest(&SHA256, wire).as_ref()[..DIGEST_BYTES]))
}

/// Compares what a file holds with the seal in its name.
pub(super) fn state(wire: &[u8], wanted: Option<&str>) -> State {
    let Some(wanted) = wanted else { return State::Whole };
    let bytes_wanted = wanted.split('_').next().and_then(|bytes| usize::from_str_radix(bytes, 16).ok());
    if seal(wire) == wanted {
        State::Whole
    } else if bytes_wanted.is_some_and(|bytes| wire.len() < bytes) || wire.chunks(SECTOR_BYTES).any(|sector| sector.iter().all(|&byte| byte == 0)) {
        State::Unfinished
    } else {
        State::Damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_whole_whatever_its_bytes() {
        for wire in [&b""[..], b"x", &[0; 4096], &[0xff; 5000]] {
            assert_eq!(state(wire, Some(&seal(wire))), State::Whole);
        }
    }

    #[test]
    fn a_part_is_unfinished_however_long_it_is() {
        let (wire, other) = (vec![b'x'; 9_000], seal(&vec![b'x'; 9_000]));
        for bytes in [0, 1, 512, 4_096, 8_999] {
            assert_eq!(state(&wire[..bytes], Some(&other)), State::Unfinished, "{bytes}");
        }
    }

    #[test]
    fn blocks_that_were_never_written_are_unfinished_at_any_place() {
        let (wire, wanted) = (vec![b'x'; 9_000], seal(&vec![b'x'; 9_000]));
        for (from, to) in [(0, 9_000), (0, 4_096), (4_096, 8_192), (8_192, 9_000)] {
            let mut holed = wire.clone();
            holed[from..to].fill(0);
            assert_eq!(state(&holed, Some(&wanted)), State::Unfinished, "{from} to {to}");
        }
    }

    #[test]
    fn other_bytes_are_damage() {
        let (mut wire, wanted) = (vec![b'x'; 9_000], seal(&vec![b'x'; 9_000]));
        wire[4_500] ^= 1;
        assert_eq!(state(&wire, Some(&wanted)), State::Damaged);
        assert_eq!(state(&[b'x'; 9_001], Some(&wanted)), State::Damaged, "longer");
    }

    #[test]
    fn of_a_name_without_a_seal_nothing_is_known() {
        assert_eq!(state(b"", None), State::Whole);
    }
}
