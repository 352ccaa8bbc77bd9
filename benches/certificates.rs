//! A chain like that of an AWS endpoint: root, intermediate and server certificate, all RSA-2048, made with openssl(1).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// How many roots the trusted file holds beside ours: Amazon publishes five.
const OTHER_ROOTS: usize = 4;

/// The files of the chain, in one folder.
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those that [`Certificates::make`] wrote.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes the chain and the file of trusted roots.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let this = Self::in_folder(folder);
        this.authority("root", None)?;
        this.authority("intermediate", Some("root"))?;
        this.certificate("server", "intermediate", "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n")?;
        let mut trusted = fs::read(this.file("root.pem"))?;
        for other in 0..OTHER_ROOTS {
            let name = format!("other{other}");
            this.authority(&name, None)?;
            trusted.extend(fs::read(this.file(&format!("{name}.pem")))?);
        }
        fs::write(this.trusted_pem(), trusted)?;
        let chain = [fs::read(this.file("server.pem"))?, fs::read(this.file("intermediate.pem"))?].concat();
        fs::write(this.chain_pem(), chain)?;
        Ok(this)
    }

    /// Our root alone.
    pub(crate) fn root_pem(&self) -> PathBuf {
        self.file("root.pem")
    }

    /// What `aws.trusted_roots_file` names: our root among others.
    pub(crate) fn trusted_pem(&self) -> PathBuf {
        self.file("trusted.pem")
    }

    /// What the server shows.
    pub(crate) fn chain_pem(&self) -> PathBuf {
        self.file("chain.pem")
    }

    /// The server's key.
    pub(crate) fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    fn authority(&self, name: &str, issuer: Option<&str>) -> anyhow::Result<()> {
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
        self.certificate(name, issuer.unwrap_or(name), extensions)
    }

    fn certificate(&self, name: &str, issuer: &str, extensions: &str) -> anyhow::Result<()> {
        let (key, request, pem, extensions_file) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"), format!("{name}.ext"));
        fs::write(self.file(&extensions_file), extensions)?;
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject])?;
        let mut sign = vec!["x509", "-req", "-in", &request, "-out", &pem, "-days", "30", "-extfile", &extensions_file];
        let (issuer_pem, issuer_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        if issuer == name {
            sign.extend(["-signkey", &key]);
        } else {
            sign.extend(["-CA", &issuer_pem, "-CAkey", &issuer_key, "-CAcreateserial"]);
        }
        self.openssl(&sign)
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("openssl").current_dir(&self.folder).args(arguments).output().context("openssl")?;
        ensure!(output.status.success(), "openssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
