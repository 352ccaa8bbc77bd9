//! A world whose Postfix is the one of `ami/files`: the very files at their very paths, seen by this world only.
//!
//! What differs from a machine is said in `/etc/replyfleet/postfix.env`, as on a machine.

use std::{fs, path::PathBuf, process::Command};

use super::{Plan, World};

/// The instance that sends replies.
pub const SENDER_INSTANCE: &str = "/etc/postfix-out";

impl World {
    /// Gives the world folders of its own in the place of the machine's, with the files of `ami/files` in them.
    pub(super) fn lay_files(&self) {
        let script = r#"
            mkdir -p "$1/run/replyfleet" "$1/spool/postfix" "$1/lib/postfix"
            chown postfix "$1/lib/postfix"
            cp -a /etc "$1/etc"
            for folder in postfix postfix-out replyfleet; do cp -R "$2/etc/$folder" "$1/etc/"; done
            printf 'replyfleet:x:65534:65534::/nonexistent:/usr/sbin/nologin\n' >>"$1/etc/passwd"
            mount --bind "$1/etc" /etc
            mount --bind "$1/run" /run
            mount --bind "$1/spool" /var/spool
            mount --bind "$1/lib" /var/lib"#;
        let host = self.folder("host", "root");
        self.run(self.command("sh").args(["-euc", script, "sh"]).arg(host).arg(crate::repository().join("ami/files")));
    }

    /// The name of a file of the world's host, as the test sees it.
    pub(super) fn on_host(&self, name: &str) -> PathBuf {
        self.path("host").join(name)
    }

    pub(super) fn start_files(&self, plan: &Plan) {
        let more = plan.files.expect("a world of files");
        let env = format!("MYHOSTNAME=mx.responder.test\nINET_INTERFACES=192.0.2.25\nLOG=/run/mail/mail.log\n{more}");
        fs::write(self.on_host("etc/replyfleet/postfix.env"), env).unwrap();
        self.run(&mut self.command(crate::repository().join("ami/files/usr/lib/replyfleet/postfix-configure")));
        self.write_maps();
        // Both instances, by postmulti.
        self.run(self.command("postfix").arg("start"));
    }

    /// `replyfleet postfix-maps`, not yet run.
    pub fn maps_command(&self) -> Command {
        let mut command = self.command(self.path("bin/replyfleet"));
        command.arg("postfix-maps").arg("--config").arg(self.path("replyfleet.toml"));
        command
    }

    /// Writes Postfix's maps from the catalogue; returns the line that the command prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn write_maps(&self) -> String {
        String::from_utf8(self.run(&mut self.maps_command())).unwrap()
    }

    /// What an instance is set to, where that is not Postfix's default.
    pub fn postconf(&self, instance: &str) -> String {
        String::from_utf8(self.run(self.command("postconf").args(["-c", instance, "-n"]))).unwrap()
    }

    /// How many mails an instance holds.
    pub fn mails_in(&self, instance: &str) -> usize {
        let list = self.run(self.command("postqueue").args(["-c", instance, "-j"]));
        String::from_utf8_lossy(&list).lines().count()
    }
}
