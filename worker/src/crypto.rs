//! Which cryptography TLS uses when nobody says: AWS-LC, as everywhere in this workspace.
//!
//! mail-auth 0.13 brings ring into the tree, and hickory-resolver turns on rustls' feature for it. With two providers
//! compiled in, rustls cannot choose and panics where a default is asked for. So one is installed before anything opens
//! a connection: by both programs first of all, and again by [`crate::Worker::open`] for whoever uses the library.

use std::sync::Once;

/// Makes AWS-LC the process's default for TLS. Called again, or after somebody else chose, it changes nothing.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error means that the process has chosen already: then there is a default, which is all that matters here.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn tls_has_a_default_even_though_two_providers_are_compiled_in() {
        super::install();
        super::install();
        let provider = rustls::crypto::CryptoProvider::get_default().expect("a default");
        let aws_lc = rustls::crypto::aws_lc_rs::default_provider();
        assert_eq!(format!("{:?}", provider.secure_random), format!("{:?}", aws_lc.secure_random), "not AWS-LC");
        let _ = rustls::ClientConfig::builder(); // panics without a default
    }
}
