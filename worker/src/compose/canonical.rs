//! The relaxed canonicalization of DKIM (RFC 6376 §3.4.2 and §3.4.4), for what we write ourselves: lines that end in CRLF.

use aws_lc_rs::digest;

/// A body in relaxed form on its way into a digest: white space at the end of a line is left out, a run of it within a line
/// is one space, and empty lines at the end do not count.
pub(super) struct RelaxedBody {
    digest: digest::Context,
    /// White space that may turn out to stand at the end of its line.
    has_space: bool,
    /// A CR that may turn out to stand by itself.
    has_cr: bool,
    /// Line ends that may turn out to be the body's last.
    line_ends: usize,
    is_empty: bool,
}

impl RelaxedBody {
    /// An empty body.
    pub(super) fn new(digest: digest::Context) -> Self {
        Self { digest, has_space: false, has_cr: false, line_ends: 0, is_empty: true }
    }

    /// More of the body. It may be cut anywhere.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            match first {
                b'\n' if self.has_cr => {
                    (self.has_cr, self.has_space) = (false, false);
                    self.line_ends += 1;
                    rest = &rest[1..];
                }
                b'\r' if !self.has_cr => {
                    self.has_cr = true;
                    rest = &rest[1..];
                }
                b' ' | b'\t' => {
                    self.flush_cr();
                    self.has_space = true;
                    rest = &rest[1..];
                }
                _ => {
                    self.flush_cr();
                    self.flush();
                    let end =
                        rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r')).unwrap_or(rest.len()).max(usize::from(first != b'\r'));
                    self.digest.update(&rest[..end]);
                    self.is_empty = false;
                    rest = &rest[end..];
                }
            }
        }
    }

    /// A CR that no LF followed is a character like others.
    fn flush_cr(&mut self) {
        if std::mem::take(&mut self.has_cr) {
            self.flush();
            self.digest.update(b"\r");
            self.is_empty = false;
        }
    }

    /// Line ends and white space that something follows.
    fn flush(&mut self) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.digest.update(b"\r\n");
        }
        if std::mem::take(&mut self.has_space) {
            self.digest.update(b" ");
        }
    }

    /// The digest of the whole body, which is not empty unless there was nothing but empty lines.
    pub(super) fn finish(mut self) -> digest::Context {
        self.flush_cr();
        if !self.is_empty {
            self.digest.update(b"\r\n");
        }
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(parts: &[&[u8]]) -> Vec<u8> {
        let mut relaxed = RelaxedBody::new(digest::Context::new(&digest::SHA256));
        parts.iter().for_each(|part| relaxed.update(part));
        relaxed.finish().finish().as_ref().to_vec()
    }

    fn sha256(bytes: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
    }

    #[test]
    fn a_body_is_canonicalized_however_it_is_cut() {
        for (body, canonical) in [
            // The RFC's own example (§3.4.5).
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n \r\n", ""),
            ("a", "a\r\n"),
            ("a \r\n\r\n b\tc", "a\r\n\r\n b c\r\n"),
            ("a\r\n \t\r\nb\r\n", "a\r\n\r\nb\r\n"),
            ("a\rb\r\r\nc\n", "a\rb\r\r\nc\n\r\n"),
        ] {
            let body = body.as_bytes();
            assert_eq!(digest_of(&[body]), sha256(canonical.as_bytes()), "{body:?}");
            for cut in 0..body.len() {
                assert_eq!(digest_of(&[&body[..cut], &body[cut..]]), sha256(canonical.as_bytes()), "{body:?} at {cut}");
            }
        }
    }
}
