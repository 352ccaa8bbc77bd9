//! TLS against servers with good and bad certificates, made with openssl(1) once for all tests: whatever is wrong has a
//! word of its own, and nothing of a mail is said in clear.

use std::{fs, process::Command};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    super::tests::{Act, GOOD, Script, Server, big_reply, reply, settings, unstuffed},
    *,
};
use crate::send::{Accepted, SendError, Sender, smtp::SmtpSender};

/// An authority, and what it and others vouch for.
struct Certificates {
    folder: TempDir,
}

const OPENSSL_CA: &str = "[ca]\ndefault_ca = all\n[all]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n\
                          unique_subject = no\n[any]\ncommonName = supplied\n";
const NOW: (&str, &str) = ("20200101000000Z", "21200101000000Z");

impl Certificates {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(|| {
            let this = Self { folder: tempfile::tempdir().expect("temporary folder") };
            fs::write(this.path("ca.cnf"), OPENSSL_CA).expect("written");
            fs::write(this.path("index"), "").expect("written");
            let (authority, server) = ("basicConstraints=critical,CA:TRUE\n", "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n");
            this.make("root", "root", authority, NOW);
            this.make("stranger", "stranger", authority, NOW);
            this.make("good", "root", server, NOW);
            this.make("foreign", "stranger", server, NOW);
            this.make("self", "self", server, NOW);
            this.make("expired", "root", server, ("20200101000000Z", "20210101000000Z"));
            this.make("early", "root", server, ("21190101000000Z", "21200101000000Z"));
            this.make("other-name", "root", "basicConstraints=CA:FALSE\nsubjectAltName=DNS:mx.example.net\n", NOW);
            this.make("client", "root", &format!("{server}extendedKeyUsage=clientAuth\n"), NOW);
            this
        })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, name: &str, issuer: &str, extensions: &str, (from, until): (&str, &str)) {
        let [key, request, pem, file] = ["key", "csr", "pem", "ext"].map(|extension| format!("{name}.{extension}"));
        fs::write(self.path(&file), extensions).expect("written");
        let subject = format!("/CN={name}");
        let new =
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject];
        self.openssl(&new);
        let (issuer_pem, issuer_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        let mut sign = vec!["ca", "-config", "ca.cnf", "-batch", "-notext", "-in", &request, "-out", &pem, "-extfile", &file];
        sign.extend(["-startdate", from, "-enddate", until, "-keyfile", &issuer_key]);
        if issuer == name {
            sign.push("-selfsign")
        } else {
            sign.extend(["-cert", &issuer_pem])
        }
        self.openssl(&sign);
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").current_dir(self.folder.path()).args(arguments).output().expect("openssl");
        assert!(output.status.success(), "openssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }

    /// A server's TLS with the certificate `name`, and the key of `key`.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).expect("certificate");
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("key");
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate], key).expect("a pair"))
    }

    fn sender(&self, port: u16, tls: &str, more: &str) -> SmtpSender {
        let more = format!("trusted_roots_file = \"{}\"\n{more}", self.path("root.pem").display());
        SmtpSender::new(&settings("localhost", port, tls, &more)).expect("opened")
    }
}

const STARTTLS: Script = Script { ehlo: "250-test\r\n250 STARTTLS", ..GOOD };

fn with(name: &str, tls: &str) -> Script {
    Script { tls: Some(Certificates::shared().server(name)), is_implicit: tls == "implicit", ..STARTTLS }
}

fn not_sent(text: &str) -> Result<Accepted, SendError> {
    Err(SendError::NotSent(format!("connect: {text}")))
}

#[tokio::test]
async fn a_mail_goes_by_tls_to_whom_the_authority_vouches_for() {
    for tls in ["starttls", "implicit", "encrypt"] {
        let server = Server::start(vec![with("good", tls)]).await;
        let sender = Certificates::shared().sender(server.port, tls, "");
        for _ in 0..2 {
            assert_eq!(sender.send(&reply()).await, Ok(Accepted), "{tls}");
        }
        let clear = server.saw_in_clear();
        assert!(clear.iter().all(|line| line.starts_with("EHLO ") || line == "STARTTLS"), "{tls}: {clear:?}");
        assert_eq!((server.saw("MAIL"), server.saw("MAIL FROM:<bounces+t@example.com> SIZE=39")), (2, 2), "offers count anew over TLS");
    }
}

#[tokio::test]
async fn twenty_megabytes_go_by_tls_too() {
    let server = Server::start(vec![with("good", "starttls")]).await;
    let (sender, reply) = (Certificates::shared().sender(server.port, "starttls", "timeout_s = 60"), big_reply());
    assert_eq!(sender.send(&reply).await, Ok(Accepted));
    assert!(unstuffed(&server.messages()[0]) == reply.to_vec(), "changed on its way");
}

#[tokio::test]
async fn each_bad_certificate_has_its_word_and_gets_no_mail() {
    for (name, word) in [
        ("expired", "TLS: certificate expired"),
        ("early", "TLS: certificate not yet valid"),
        ("other-name", "TLS: certificate for another name"),
        ("foreign", "TLS: certificate of an unknown authority"),
        ("self", "TLS: certificate self-signed"),
        ("stranger", "TLS: certificate self-signed"),
        ("client", "TLS: certificate not for servers"),
    ] {
        for tls in ["starttls", "implicit"] {
            let server = Server::start(vec![with(name, tls)]).await;
            let sender = Certificates::shared().sender(server.port, tls, "");
            assert_eq!(sender.send(&reply()).await, not_sent(word), "{name} {tls}");
            let check = sender.check().await;
            assert!(check.is_err(), "{check:?}");
            assert_eq!((server.saw("MAIL"), server.saw("AUTH")), (0, 0));
        }
        let server = Server::start(vec![with(name, "encrypt")]).await;
        let sender = Certificates::shared().sender(server.port, "encrypt", "");
        assert_eq!(sender.send(&reply()).await, Ok(Accepted), "{name}: any certificate");
        assert!(!server.saw_in_clear().iter().any(|line| line.starts_with("MAIL")), "but not without");
    }
}

#[tokio::test]
async fn without_tls_nothing_is_said_in_clear() {
    let injected = Act::Say("220 go on\r\n250-you are\r\n250 AUTH PLAIN");
    for (script, word) in [
        (Script { ehlo: "250 test", ..GOOD }, "STARTTLS: not offered"),
        (Script { starttls: Act::Say("454 4.7.0 not now"), ..STARTTLS }, "STARTTLS: 454"),
        (Script { starttls: injected, ..STARTTLS }, "STARTTLS: more came than its answer"),
        (Script { starttls: Act::Say("220 go on, but how?"), ..STARTTLS }, "TLS: connection lost in the handshake"),
        (Script { starttls: Act::SayAndCut("220 and goodbye"), ..STARTTLS }, "TLS: connection lost in the handshake"),
        (Script { starttls: Act::Cut, ..STARTTLS }, "STARTTLS: no SMTP answer"),
        (Script { ehlo: "502 what?", ..GOOD }, "502"),
    ] {
        for tls in ["starttls", "encrypt"] {
            let server = Server::start(vec![script.clone()]).await;
            let more = if tls == "starttls" { "user = \"user\"" } else { "" };
            assert_eq!(Certificates::shared().sender(server.port, tls, more).send(&reply()).await, not_sent(word), "{tls}");
            assert_eq!((server.saw("MAIL"), server.saw("AUTH")), (0, 0));
        }
    }
    let server = Server::start(vec![GOOD]).await;
    assert_eq!(Certificates::shared().sender(server.port, "implicit", "").send(&reply()).await, not_sent("TLS: no TLS there"));
    assert_eq!(server.saw("MAIL"), 0);
}

/// A server that answers the first bytes with these.
async fn answering(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 16_384];
            let _ = stream.read(&mut hello).await; // any length will do
            let _ = stream.write_all(&bytes).await; // it may be gone
            while stream.read(&mut hello).await.is_ok_and(|read| read > 0) {}
        }
    });
    port
}

#[tokio::test]
async fn protocols_older_than_tls_1_2_are_not_spoken() {
    let alert = vec![21, 3, 1, 0, 2, 2, 70]; // fatal, protocol_version
    // A ServerHello of TLS 1.0: random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let hello = [&[22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
    let refused = vec![21, 3, 3, 0, 2, 2, 40]; // fatal, handshake_failure
    let too_weak = vec![21, 3, 3, 0, 2, 2, 71]; // fatal, insufficient_security
    for (bytes, word) in [
        (alert, "TLS: only older protocols than TLS 1.2"),
        (hello, "TLS: only older protocols than TLS 1.2"),
        (refused, "TLS: refused by the server"),
        (too_weak, "TLS: no common cipher"),
        (b"220 mx.example.org ESMTP\r\n".to_vec(), "TLS: no TLS there"),
    ] {
        let port = answering(bytes).await;
        assert_eq!(Certificates::shared().sender(port, "implicit", "").send(&reply()).await, not_sent(word));
    }
}

#[test]
fn what_two_sides_do_not_have_in_common_is_told_from_an_old_protocol() {
    for (reason, want) in [
        (PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig, "only older protocols than TLS 1.2"),
        (PeerIncompatible::ServerDoesNotSupportTls12Or13, "only older protocols than TLS 1.2"),
        (PeerIncompatible::NoCipherSuitesInCommon, "no common cipher"),
        (PeerIncompatible::NoKxGroupsInCommon, "no common cipher"),
        (PeerIncompatible::NoSignatureSchemesInCommon, "no common cipher"),
    ] {
        assert_eq!(word(&io::Error::new(io::ErrorKind::InvalidData, Error::PeerIncompatible(reason.clone()))), want, "{reason:?}");
    }
}

#[tokio::test]
async fn the_password_goes_by_tls_and_a_refusal_has_a_word() {
    let more = "user = \"user\"";
    for ehlo_over_tls in ["250-test\r\n250 AUTH PLAIN", "250-test\r\n250 AUTH LOGIN"] {
        let server = Server::start(vec![Script { ehlo_over_tls, ..with("good", "starttls") }]).await;
        assert_eq!(Certificates::shared().sender(server.port, "starttls", more).send(&reply()).await, Ok(Accepted), "{ehlo_over_tls}");
        // \0user\0secret, and secret
        assert_eq!(server.saw("AUTH PLAIN AHVzZXIAc2VjcmV0") + server.saw("c2VjcmV0"), 1, "{ehlo_over_tls}");
    }
    for (script, word) in [
        (Script { auth: Act::Say("535 5.7.8 no"), ..with("good", "starttls") }, "AUTH: 535"),
        (Script { ehlo_over_tls: "250-test\r\n250 AUTH GSSAPI", ..with("good", "starttls") }, "AUTH: the server offers neither PLAIN nor LOGIN"),
    ] {
        let server = Server::start(vec![script]).await;
        assert_eq!(Certificates::shared().sender(server.port, "starttls", more).send(&reply()).await, not_sent(word));
        assert_eq!(server.saw("MAIL"), 0);
    }
}

#[tokio::test]
async fn a_route_has_authorities_of_its_own() {
    let (relay, other) = (Server::start(vec![with("good", "starttls"); 2]).await, Server::start(vec![with("foreign", "starttls")]).await);
    let stranger = Certificates::shared().path("stranger.pem");
    let text = format!(
        "[[send.SMTP.routes]]\ndomains = [\"example.org\"]\ntls = \"starttls\"\nport = {}\ntrusted_roots_file = \"{}\"\n\
         [[send.SMTP.routes]]\ndomains = [\"example.net\"]\ntls = \"starttls\"\ntrusted_roots_file = \"{}\"",
        other.port,
        stranger.display(),
        stranger.display()
    );
    let sender = Certificates::shared().sender(relay.port, "starttls", &text);
    let to = |rcpt_to: &str| crate::compose::Reply { rcpt_to: rcpt_to.into(), ..reply() };
    assert_eq!(sender.send(&to("a@example.org")).await, Ok(Accepted));
    assert_eq!(sender.send(&to("a@example.com")).await, Ok(Accepted));
    assert_eq!(sender.send(&to("a@example.net")).await, not_sent("TLS: certificate of an unknown authority"));
    assert_eq!((relay.saw("MAIL"), other.saw("MAIL")), (1, 1));
}

#[test]
fn a_certificate_that_is_none_names_no_issuer() {
    let certificate = |name: &str| CertificateDer::from_pem_file(Certificates::shared().path(name)).expect("certificate");
    let (own, good) = (certificate("self.pem"), certificate("good.pem"));
    assert!(is_self_issued(&own) && !is_self_issued(&good));
    for end in 0..own.len() {
        assert!(!is_self_issued(&own[..end]), "cut at {end}");
    }
    for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[0x30, 0x80, 0, 0]] {
        assert!(!is_self_issued(bytes));
    }
}
