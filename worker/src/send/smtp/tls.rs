//! TLS towards a relay: which certificates are believed, and a word for each way in which it fails.
//!
//! TLS 1.2 and later only, on AWS-LC. Nothing falls back to clear text here or elsewhere. A failure means that no mail
//! was sent; what to do about it is in its word.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The TLS of one way to a relay.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Which certificates are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief<'a> {
    /// Those for the host's name that an authority in this PEM file vouches for.
    File(&'a Path),
    /// Those for the host's name that an authority of the system vouches for.
    System,
    /// Any. That somebody holds the certificate's key is still verified.
    Any,
}

impl Tls {
    /// Reads the authorities; connects to nothing yet.
    ///
    /// # Errors
    /// A sentence that begins with the settings' key.
    pub(super) fn new(host: &str, belief: Belief<'_>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match belief {
            Belief::Any => Arc::new(AnyCertificate { algorithms }),
            Belief::System => Arc::new(Verified::of(system_roots()?, &provider)?),
            Belief::File(path) => Arc::new(Verified::of(Arc::new(roots_of(path)?), &provider)?),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("tls: {error}"))?
            .dangerous() // the verifiers below: rustls' own behind a word, and the one for "encrypt"
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("host: {host:?} cannot stand in a certificate"))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// TLS over a connection on which it is the server's turn to expect it.
    ///
    /// # Errors
    /// A word for the failure.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, &'static str> {
        self.connector.connect(self.name.clone(), stream).await.map_err(|error| word(&error))
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let pem = std::fs::read(path).map_err(|error| format!("trusted_roots_file: cannot read {}: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let is_taken = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !is_taken {
            return Err(format!("trusted_roots_file: {} is not a PEM file of certificates", path.display()));
        }
    }
    if roots.is_empty() { Err(format!("trusted_roots_file: no certificate in {}", path.display())) } else { Ok(roots) }
}

/// The system's authorities, read once.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Some systems have one or two that are not well formed; the others are good.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err("tls: this system has no certificate authorities; install ca-certificates or set trusted_roots_file".into());
    }
    Ok(Arc::clone(roots))
}

/// rustls' verifier, which calls a certificate that vouches for itself just one of an unknown issuer.
#[derive(Debug)]
struct Verified(Arc<WebPkiServerVerifier>);

impl Verified {
    fn of(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        verifier.map(Self).map_err(|error| format!("tls: {error}"))
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)) if is_self_issued(end_entity) => {
                CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// For `tls = "encrypt"`: who is at the other end is not asked, but that he holds the key of what he shows.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate names itself as its issuer.
#[derive(Debug, thiserror::Error)]
#[error("self-signed")]
struct SelfSigned;

/// Whether issuer and subject are one (RFC 5280 §4.1). Asked only for the word of a failure: nothing is believed by it.
fn is_self_issued(certificate: &[u8]) -> bool {
    let names = || {
        let (_, certificate, _) = der_element(certificate)?;
        let (_, mut fields, _) = der_element(certificate)?;
        if fields.first() == Some(&0xa0) {
            fields = der_element(fields)?.2; // version
        }
        let after_serial = der_element(fields)?.2;
        let after_algorithm = der_element(after_serial)?.2;
        let (_, issuer, after_issuer) = der_element(after_algorithm)?;
        let after_validity = der_element(after_issuer)?.2;
        let (_, subject, _) = der_element(after_validity)?;
        Some((issuer, subject))
    };
    names().is_some_and(|(issuer, subject)| issuer == subject)
}

/// Tag, content and what follows the first DER element of `bytes`; `None` if it is not whole.
fn der_element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > size_of::<u32>() {
            return None;
        }
        length = digits.iter().fold(0, |length, &digit| (length << 8) | usize::from(digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// A word for a failed handshake. Closed list: nothing of what the server sent is in it.
fn word(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(error)) => certificate_word(error),
        Some(Error::NoCertificatesPresented) => "no certificate",
        Some(
            Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig | PeerIncompatible::ServerDoesNotSupportTls12Or13)
            | Error::AlertReceived(AlertDescription::ProtocolVersion),
        ) => "only older protocols than TLS 1.2",
        // Suites, groups or schemes; a server that finds that out itself mostly says handshake_failure.
        Some(Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::InsufficientSecurity)) => "no common cipher",
        Some(Error::AlertReceived(_)) => "refused by the server",
        Some(Error::InvalidMessage(_)) => "no TLS there",
        Some(_) => "handshake broken",
        None => "connection lost in the handshake",
    }
}

fn certificate_word(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate not yet valid",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "certificate for another name",
        CertificateError::UnknownIssuer => "certificate of an unknown authority",
        CertificateError::BadSignature => "certificate or handshake with a wrong signature",
        CertificateError::Revoked => "certificate revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "certificate not for servers",
        CertificateError::BadEncoding => "certificate unreadable",
        CertificateError::Other(OtherError(other)) if other.is::<SelfSigned>() => "certificate self-signed",
        _ => "certificate not acceptable",
    }
}

#[cfg(test)]
mod tests;
