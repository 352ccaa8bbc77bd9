//! Requests as an MX's enqueuer would put them: mails of 8 KB, each of another sender at one domain, whose RSA-2048 key
//! signed it.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::{process::Command, time::Duration};

use anyhow::{Context, ensure};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet::{
    clock::UnixMillis,
    envelope::{self, Envelope, Facts, Mail},
    keyed::Secret,
    queue::{Queue, spool::SpoolQueue},
};
use replyfleet_tests::dns::{Dns, Zone};

/// The requesters' domain.
pub(crate) const DOMAIN: &str = "example.org";
const SELECTOR: &str = "s1";
const HOST: &str = "mail.example.org";
const CLIENT: &str = "192.0.2.7";
const MX: &str = "mx1.example.com";
/// Lines of a request: 8 KB.
const LINES: usize = 110;
/// What each request's signature covers.
const SIGNED: &str = "from:to:subject:date:message-id:mime-version:content-type";

/// What a request is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 8 KB, signed by its domain.
    Signed,
    /// The same without a signature, of an automaton that says so (RFC 3834 §5): nobody answers it.
    Automatic,
    /// Some 300 bytes, unsigned.
    Small,
}

/// Makes requests, and vouches for them in DNS.
pub(crate) struct Requesters {
    key: KeyPair,
    secret: Secret,
    date: String,
    next: usize,
}

impl Requesters {
    /// `secret` is the installation's.
    pub(crate) fn new(secret: Secret) -> anyhow::Result<Self> {
        let date = Command::new("date").arg("-R").env("LC_ALL", "C").output()?;
        ensure!(date.status.success(), "date -R ended with {}", date.status);
        Ok(Self { key: KeyPair::generate(KeySize::Rsa2048)?, secret, date: String::from_utf8(date.stdout)?.trim().to_owned(), next: 0 })
    }

    /// A name server that knows their domain.
    pub(crate) fn dns(&self) -> anyhow::Result<Dns> {
        let key = AsDer::<PublicKeyX509Der<'_>>::as_der(self.key.public_key())?;
        let key = format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(key.as_ref()));
        Ok(Dns::start(|zone: &mut Zone| {
            zone.txt(&format!("{SELECTOR}._domainkey.{DOMAIN}"), key).mx(DOMAIN, 10, HOST).address(HOST, [192, 0, 2, 9]);
            zone.txt(DOMAIN, "v=spf1 ip4:198.51.100.0/24 -all").txt(&format!("_dmarc.{DOMAIN}"), "v=DMARC1; p=none");
        }))
    }

    /// Puts requests for `rcpt_to` on the queue.
    pub(crate) async fn fill(&mut self, queue: &SpoolQueue, rcpt_to: &str, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            queue.put(&self.request(Kind::Signed, rcpt_to)?).await?;
        }
        Ok(())
    }

    /// The next request, of another sender than all before.
    pub(crate) fn request(&mut self, kind: Kind, rcpt_to: &str) -> anyhow::Result<Envelope> {
        self.next += 1;
        let sender = format!("someone{}@{DOMAIN}", self.next);
        let queue_id = format!("4X{:08}", self.next);
        let facts = Facts {
            request_key: envelope::request_key(&self.secret, MX, &queue_id, rcpt_to),
            mail_key: envelope::mail_key(&self.secret, MX, &queue_id),
            group: envelope::group(&self.secret, &sender, CLIENT),
            mail_from: sender.clone(),
            rcpt_to: rcpt_to.to_owned(),
            // Where none is proven, all would be of one network, and soon over its cap: one that cannot be read counts for none.
            client_address: if kind == Kind::Small { "unknown" } else { CLIENT }.to_owned(),
            client_name: HOST.to_owned(),
            helo: HOST.to_owned(),
            protocol: "ESMTP".to_owned(),
            tls: "TLSv1.3".to_owned(),
            queue_id,
            host: MX.to_owned(),
            arrived: UnixMillis::now() - Duration::from_secs(1),
        };
        Ok(Envelope { facts, mail: Mail::Inline(self.mail(kind, &sender, rcpt_to)?.into()) })
    }

    /// Fields and body are written so that their canonical form (relaxed, RFC 6376 §3.4.2 and §3.4.4) is but the fields'
    /// names in lower case. pipe(8) hands mail over with bare LF.
    fn mail(&self, kind: Kind, sender: &str, rcpt_to: &str) -> anyhow::Result<Vec<u8>> {
        let fields = [
            ("From", format!("Some One <{sender}>")),
            ("To", rcpt_to.to_owned()),
            ("Subject", "=?utf-8?b?2LPZhNin2YU=?=".to_owned()),
            ("Date", self.date.clone()),
            ("Message-ID", format!("<{}@{DOMAIN}>", self.next)),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ];
        let received =
            format!("Received: from {HOST} ({HOST} [{CLIENT}])\n\tby {MX} (Postfix) with ESMTPS id 4XyZ\n\tfor <{rcpt_to}>; {}", self.date);
        let written: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        if kind == Kind::Small {
            return Ok(format!("{received}\n{written}\nPlease send me the programs.\n").into_bytes());
        }
        let body: String =
            (0..LINES).map(|line| format!("Please send me the programs. This is line {line:03} of a mail of some length.\r\n")).collect();
        if kind == Kind::Automatic {
            return Ok(format!("{received}\n{written}Auto-Submitted: auto-replied\n\n{}", body.replace("\r\n", "\n")).into_bytes());
        }
        let body_hash = BASE64_STANDARD.encode(digest(&SHA256, body.as_bytes()));
        let seconds = UnixMillis::now().0 / 1_000;
        let signature =
            format!("v=1; a=rsa-sha256; c=relaxed/relaxed; d={DOMAIN}; q=dns/txt; s={SELECTOR}; t={seconds}; h={SIGNED}; bh={body_hash}; b=");
        let canonical: String = fields.iter().map(|(name, value)| format!("{}:{value}\r\n", name.to_lowercase())).collect();
        let mut value = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), format!("{canonical}dkim-signature:{signature}").as_bytes(), &mut value)
            .context("the request's signature")?;
        let signature = format!("DKIM-Signature: {signature}{}", BASE64_STANDARD.encode(&value));
        Ok(format!("{signature}\n{received}\n{written}\n{}", body.replace("\r\n", "\n")).into_bytes())
    }
}
