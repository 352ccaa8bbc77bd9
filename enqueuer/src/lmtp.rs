//! The enqueuer as a service: Postfix's lmtp(8) hands mail over one connection after another, and nothing is started.
//!
//! The parts: `listen` opens the sockets, [`server`] accepts, a `session` serves one connection of [`wire`] by
//! [`command`], [`data`] and [`xtext`] within [`memory`]; [`client`] is the pipe's side, which hands its mail over here.
//!
//! **Only a 5xx of ours can make Postfix bounce**, and there is none for mail: time-outs, lost connections and a socket that
//! is not there defer. That is why LMTP is the recommended way; pipe(8) bounces on its own time limit.
//!
//! In main.cf: `virtual_transport = lmtp:unix:/run/replyfleet/lmtp.sock`, `lmtp_send_xforward_command = yes` (the queue id,
//! without which no mail is taken), `lmtp_destination_recipient_limit = 1`, `lmtp_line_length_limit = 0` (else Postfix
//! breaks lines over 998 bytes, which the pipe gives whole), and `smtpd_discard_ehlo_keywords = dsn, silent-discard`: the
//! original recipient is Postfix's ORCPT, and without the last line a client could write its own into it.

pub mod client;
pub mod command;
pub mod data;
pub(crate) mod listen;
pub mod memory;
pub mod server;
mod session;
mod unix;
pub mod wire;
pub mod xtext;
