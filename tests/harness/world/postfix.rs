//! The world's Postfix: an instance in the world's folder that shares nothing with one that the machine may have.

use std::{fs, path::PathBuf, time::Duration};

use super::{BY_PIPE, Backing, Intake, Plan, SOON, USER, World, give_to};
use crate::wait_for;

/// Postfix's own daemons: type, private, unprivileged, chroot, wake-up, limit, program. None is chrooted: the folder is not prepared for it.
pub const SERVICES: &str = "
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// The instance at port 25 in a world with the Postfix of `ami/files`.
pub const MX: &str = "/etc/postfix";

impl World {
    /// The folder with the settings of the Postfix at port 25.
    fn etc(&self) -> PathBuf {
        if self.has_files { MX.into() } else { self.path("postfix/etc") }
    }

    pub(super) fn start_postfix(&mut self, plan: &Plan) {
        let folder = self.folder("postfix", "root");
        let (etc, queue) = (self.folder("postfix/etc", "root"), self.folder("postfix/queue", "root"));
        let data = self.folder("postfix/data", "postfix");
        let aws = if plan.backing == Backing::Aws { " AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test" } else { "" };
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file_prefixes = {folder}
maillog_file = {folder}/mail.log
export_environment = MAIL_CONFIG LANG{aws}
inet_interfaces = 192.0.2.25, 127.0.0.1
inet_protocols = ipv4
myhostname = mx.responder.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
virtual_mailbox_domains = responder.test
virtual_transport = {transport}
transport_maps = inline:{{ {BY_PIPE}=enqueue: }}
enqueue_destination_recipient_limit = 1
lmtp_send_xforward_command = yes
lmtp_destination_recipient_limit = 1
lmtp_line_length_limit = 0
lmtp_lhlo_timeout = 5s
smtpd_discard_ehlo_keywords = dsn, silent-discard
enable_long_queue_ids = yes
message_size_limit = 41943040
mailbox_size_limit = 0
virtual_mailbox_limit = 0
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
bounce_queue_lifetime = 1h
maximal_queue_lifetime = 1h
",
            transport = match plan.intake {
                Intake::Pipe => "enqueue:".to_owned(),
                Intake::Lmtp => format!("lmtp:unix:{}", self.socket().display()),
            },
            queue = queue.display(),
            data = data.display(),
            folder = folder.display(),
        );
        fs::write(etc.join("main.cf"), main).unwrap();
        let program = self.enqueuer(plan);
        let master = format!(
            "192.0.2.25:25 inet n - n - - smtpd
127.0.0.1:2525 inet n - n - - smtpd
  -o receive_override_options=no_unknown_recipient_checks,no_address_mappings
{SERVICES}
enqueue unix - n n - 20 pipe
  flags=q user={USER} null_sender=
  argv={program} --config={config}
  --sender=${{sender}} --original-recipient=${{original_recipient}} --client-address=${{client_address}}
  --client-hostname=${{client_hostname}} --client-helo=${{client_helo}} --client-protocol=${{client_protocol}}
  --queue-id=${{queue_id}}
",
            program = if plan.intake == Intake::Pipe { program } else { self.path("bin/replyfleet-enqueue") }.display(),
            config = self.path("replyfleet.toml").display(),
        );
        fs::write(etc.join("master.cf"), master).unwrap();
        self.start_postfix_again();
    }

    /// Starts Postfix on what is there: its settings, and whatever lies in its queue.
    pub fn start_postfix_again(&mut self) {
        let mut start = self.command("postfix");
        self.start_daemon("postfix", start.arg("-c").arg(self.path("postfix/etc")).arg("start-fg"));
        self.wait_for_port("192.0.2.25", 25);
    }

    /// Kills all of Postfix at once, as when the machine's power fails; only what it gave to the disk is left.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill_postfix(&mut self) {
        let script = r#"master=$(tr -d " " <"$1"); kill -9 "$master" $(cat "/proc/$master/task/$master/children")"#;
        self.run(self.command("sh").args(["-euc", script, "sh"]).arg(self.path("postfix/queue/pid/master.pid")));
        let index = self.daemons.iter().position(|daemon| daemon.name() == "postfix").expect("it runs");
        let status = self.daemons.remove(index).wait(SOON);
        assert!(!status.success(), "{status}");
    }

    /// The enqueuer, or what is run in its place.
    pub(super) fn enqueuer(&self, plan: &Plan) -> PathBuf {
        let Some(script) = plan.instead_of_enqueuer else { return self.path("bin/replyfleet-enqueue") };
        give_to(&self.folder("wrapped", USER), USER);
        let head = format!("#!/bin/sh\nW={}\nENQUEUE=$W/bin/replyfleet-enqueue\n", self.path("").display());
        let path = self.write("wrapper", format!("{head}{script}"));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// Makes Postfix try again now what it deferred.
    pub fn flush_postfix(&self) {
        self.run(self.command("postqueue").arg("-c").arg(self.etc()).arg("-f"));
    }

    /// How many mails Postfix holds.
    pub fn mails_in_postfix(&self) -> usize {
        let list = self.run(self.command("postqueue").arg("-c").arg(self.etc()).arg("-j"));
        String::from_utf8_lossy(&list).lines().count()
    }

    /// Postfix's log.
    pub fn postfix_log(&self) -> String {
        let log = if self.has_files { self.on_host("run/mail/mail.log") } else { self.path("postfix/mail.log") };
        fs::read_to_string(log).unwrap_or_default()
    }

    /// How many lines of Postfix's log hold this text.
    pub fn times_in_log(&self, text: &str) -> usize {
        self.postfix_log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until Postfix's log has `count` lines with this text.
    ///
    /// # Panics
    /// If it does not come to that soon.
    pub fn wait_for_log(&self, text: &str, count: usize) {
        wait_for(&format!("{count} times {text:?} in Postfix's log"), SOON, || (self.times_in_log(text) >= count).then_some(()));
    }

    /// Waits until `count` mails were handed over to the enqueuer and taken.
    pub fn wait_for_handover(&self, count: usize) {
        let said = match self.intake {
            Intake::Pipe => "status=sent (delivered via enqueue service",
            Intake::Lmtp => "status=sent (250 2.0.0 queued)",
        };
        self.wait_for_log(said, count);
    }

    /// No request was bounced: nobody got a delivery report.
    ///
    /// # Panics
    /// If one was.
    pub fn assert_nothing_bounced(&self) {
        let log = self.postfix_log();
        assert!(!log.contains("status=bounced") && !log.contains("sender non-delivery notification"), "something bounced");
    }

    /// Waits until Postfix has nothing left to deliver.
    pub fn wait_until_postfix_is_empty(&self) {
        wait_for("Postfix's queue to be empty", SOON + Duration::from_secs(10), || (self.mails_in_postfix() == 0).then_some(()));
    }
}
