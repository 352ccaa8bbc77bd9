//! What is made of the secrets: the files, their contents and who may read them. Pure.
//!
//! An error names the secret and what was expected of it, never what it holds. A JSON reader's own words would quote it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use replyfleet::{
    keyed::Secret,
    settings::{ENV_DATABASE_URL, ENV_SMTP_PASSWORD, Redacted},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::names::{Database, Engine, Names};

/// What every part of a URL may hold as it is (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest name of a DKIM key's file.
const KEY_NAME_BYTES_MAX: usize = 100;
/// Where DKIM keys lie below the folder.
pub(super) const DKIM: &str = "dkim";

/// The file with Spamhaus' key, where `postfix-configure` looks for it.
pub(super) const SPAMHAUS: &str = "spamhaus.key";

/// The secrets' texts, of those that are named.
pub(super) struct Fetched {
    pub(super) secret_key: Option<Redacted>,
    pub(super) mx: Option<Redacted>,
    pub(super) worker: Option<Redacted>,
    pub(super) database: Option<Redacted>,
}

/// A file to write.
#[derive(Debug)]
pub(super) struct SecretFile {
    /// Its path below the folder.
    pub(super) name: String,
    pub(super) content: Redacted,
    /// Whether the group may read it; else only its owner, which is root.
    pub(super) is_for_group: bool,
}

/// `{"spamhaus_key": "..."}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mx {
    spamhaus_key: String,
}

/// `{"smtp_password": "...", "dkim": {"rf2026a.pem": "-----BEGIN ..."}}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Worker {
    smtp_password: String,
    dkim: BTreeMap<String, String>,
}

/// As RDS makes it; what else is in it is not needed here.
#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// All files.
///
/// # Errors
/// Which secret is not what is expected.
pub(super) fn files(names: &Names, fetched: &Fetched) -> anyhow::Result<Vec<SecretFile>> {
    let mut files = Vec::new();
    let for_group = |name: String, text: &str| {
        let content = Redacted::new(format!("{}\n", text.trim()));
        SecretFile { name, content, is_for_group: true }
    };
    if let Some(text) = &fetched.secret_key {
        Secret::from_text(text.expose()).context("the secret of SECRET_KEY_ARN")?;
        files.push(for_group("secret.key".into(), text.expose()));
    }
    if let Some(text) = &fetched.mx {
        let mx: Mx = json("MX_SECRET_ARN", r#"{"spamhaus_key": "..."}, which may be left out"#, text)?;
        let key = mx.spamhaus_key.trim();
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        ensure!(is_key, "the secret of MX_SECRET_ARN: spamhaus_key: expected lower-case letters and digits");
        if !key.is_empty() {
            files.push(SecretFile { name: SPAMHAUS.into(), content: Redacted::new(format!("{key}\n")), is_for_group: false });
        }
    }
    let mut environment = String::new();
    if let (Some(database), Some(text)) = (&names.database, &fetched.database) {
        let expected = r#"{"username": "...", "password": "..."}"#;
        let login: Login = json("DATABASE_SECRET_ARN", expected, text)?;
        ensure!(!login.username.is_empty() && !login.password.is_empty(), "the secret of DATABASE_SECRET_ARN: username or password is empty");
        environment.push_str(&assignment("DATABASE_SECRET_ARN", ENV_DATABASE_URL, &url(database, &login))?);
    }
    if let Some(text) = &fetched.worker {
        let expected = r#"{"smtp_password": "...", "dkim": {"NAME.pem": "-----BEGIN ..."}}, where each may be left out"#;
        let worker: Worker = json("WORKER_SECRET_ARN", expected, text)?;
        if !worker.smtp_password.is_empty() {
            environment.push_str(&assignment("WORKER_SECRET_ARN", ENV_SMTP_PASSWORD, &worker.smtp_password)?);
        }
        for (name, key) in &worker.dkim {
            ensure!(is_plain(name), "the secret of WORKER_SECRET_ARN: dkim: {name:?} is no file's name: expected letters, digits, '.', '-' and '_'");
            ensure!(key.contains("-----BEGIN "), "the secret of WORKER_SECRET_ARN: dkim: {name}: expected the text of a PEM file");
            files.push(for_group(format!("{DKIM}/{name}"), key));
        }
    }
    if names.worker.is_some() || names.database.is_some() {
        files.push(SecretFile { name: "worker.env".into(), content: Redacted::new(environment), is_for_group: false });
    }
    Ok(files)
}

fn json<T: DeserializeOwned>(key: &str, expected: &str, text: &Redacted) -> anyhow::Result<T> {
    let read = serde_json::from_str(text.expose()).map_err(|error| (error.line(), error.column()));
    read.map_err(|(line, column)| anyhow::anyhow!("the secret of {key}, line {line}, column {column}: expected JSON: {expected}"))
}

fn is_plain(name: &str) -> bool {
    let has_only = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    has_only && (1..=KEY_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.')
}

/// The database's URL. Without authorities, TLS is still demanded, but the host is not verified.
fn url(database: &Database, login: &Login) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let (scheme, mode, roots) = match (database.engine, &database.roots) {
        (Engine::Postgres, None) => ("postgres", "sslmode=require", String::new()),
        (Engine::Postgres, Some(roots)) => ("postgres", "sslmode=verify-full", format!("&sslrootcert={}", encoded(roots))),
        (Engine::Mysql, None) => ("mysql", "ssl-mode=required", String::new()),
        (Engine::Mysql, Some(roots)) => ("mysql", "ssl-mode=verify_identity", format!("&ssl-ca={}", encoded(roots))),
    };
    let (user, password, name) = (encoded(&login.username), encoded(&login.password), encoded(&database.name));
    format!("{scheme}://{user}:{password}@{}:{}/{name}?{mode}{roots}", database.host, database.port)
}

/// A line for systemd's `EnvironmentFile=`, and for a shell: in double quotes, in which four characters are special
/// (systemd.exec(5); POSIX, Shell Command Language, 2.2.3).
fn assignment(secret: &str, variable: &str, value: &str) -> anyhow::Result<String> {
    ensure!(!value.chars().any(char::is_control), "the secret of {secret}: a password with a control character cannot be in the environment");
    let mut quoted = String::with_capacity(value.len());
    for character in value.chars() {
        if "\"\\`$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Ok(format!("{variable}=\"{quoted}\"\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NAMES: &str = "SECRET_KEY_ARN=a\nWORKER_SECRET_ARN=b\nDATABASE_SECRET_ARN=c\nDATABASE_ENGINE=ENGINE\nDATABASE_HOST=db.test\n\
                         DATABASE_NAME=ledger\n";
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    fn fetched(key: &str, worker: &str, database: &str) -> Fetched {
        let some = |text: &str| Some(Redacted::new(text.to_owned()));
        Fetched { secret_key: some(key), mx: None, worker: some(worker), database: some(database) }
    }

    fn login(password: &str) -> String {
        serde_json::json!({"username": "ledger", "password": password, "engine": "postgres"}).to_string()
    }

    fn names(engine: &str, more: &str) -> Names {
        Names::parse(&format!("{}{more}", NAMES.replace("ENGINE=ENGINE", &format!("ENGINE={engine}")))).unwrap()
    }

    fn of<'a>(files: &'a [SecretFile], name: &str) -> &'a str {
        files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name}")).content.expose()
    }

    #[test]
    fn the_key_the_environment_and_the_dkim_keys_become_files() {
        let worker = serde_json::json!({"smtp_password": "a\"b$c`d\\e f'g", "dkim": {"rf2026a.pem": PEM}}).to_string();
        let files = files(&names("postgres", ""), &fetched(&format!(" {KEY}"), &worker, &login("p"))).unwrap();
        let shown: Vec<(&str, bool)> = files.iter().map(|file| (file.name.as_str(), file.is_for_group)).collect();
        assert_eq!(shown, [("secret.key", true), ("dkim/rf2026a.pem", true), ("worker.env", false)]);
        assert_eq!((of(&files, "secret.key"), of(&files, "dkim/rf2026a.pem")), (&*format!("{KEY}\n"), PEM));
        let lines: Vec<&str> = of(&files, "worker.env").lines().collect();
        assert_eq!(lines[0], "REPLYFLEET_DATABASE_URL=\"postgres://ledger:p@db.test:5432/ledger?sslmode=require\"");
        assert_eq!(lines[1], r#"REPLYFLEET_SMTP_PASSWORD="a\"b\$c\`d\\e f'g""#);
        // As a shell reads it, and systemd.
        let script = format!("{}; printf %s \"$REPLYFLEET_SMTP_PASSWORD\"", lines[1]);
        let read = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap(), "a\"b$c`d\\e f'g");
    }

    /// What is made of an MX's secret.
    fn of_mx(text: &str) -> anyhow::Result<Vec<SecretFile>> {
        let names = Names::parse("SECRET_KEY_ARN=a\nMX_SECRET_ARN=b\n").unwrap();
        let some = |text: &str| Some(Redacted::new(text.to_owned()));
        files(&names, &Fetched { secret_key: some(KEY), mx: some(text), worker: None, database: None })
    }

    #[test]
    fn spamhaus_key_becomes_a_file_for_root_alone_and_may_be_left_out() {
        let files = of_mx("{\"spamhaus_key\": \" abc123 \"}").unwrap();
        let shown: Vec<(&str, bool)> = files.iter().map(|file| (file.name.as_str(), file.is_for_group)).collect();
        assert_eq!(shown, [("secret.key", true), ("spamhaus.key", false)]);
        assert_eq!(of(&files, "spamhaus.key"), "abc123\n");
        assert_eq!(of_mx("{}").unwrap().len(), 1, "no key yet");
        for text in ["hunter2", "{\"hunter2\": \"\"}", "{\"spamhaus_key\": \"hunter2.\"}", "{\"spamhaus_key\": \"hunter2\\nx=y\"}"] {
            let error = format!("{:#}", of_mx(text).unwrap_err());
            assert!(error.contains("MX_SECRET_ARN") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn whatever_a_password_holds_the_database_is_told_it_as_it_is() {
        for password in ["p@ss:w/o?r#d", "100%", "ä €", "a+b&c=d", "[x]"] {
            let files = files(&names("mysql", "DATABASE_PORT=3307\n"), &fetched(KEY, "{}", &login(password))).unwrap();
            let text = of(&files, "worker.env");
            let url = text.trim_end().strip_prefix("REPLYFLEET_DATABASE_URL=\"").unwrap().strip_suffix('"').unwrap();
            let (before, after) = url.strip_prefix("mysql://ledger:").unwrap().split_once('@').unwrap();
            assert_eq!(percent_encoding::percent_decode_str(before).decode_utf8().unwrap(), password);
            assert_eq!(after, "db.test:3307/ledger?ssl-mode=required");
        }
    }

    #[test]
    fn with_authorities_the_hosts_name_is_verified() {
        for (engine, query) in [
            ("postgres", "?sslmode=verify-full&sslrootcert=%2Fetc%2Frds%20ca.pem"),
            ("mariadb", "?ssl-mode=verify_identity&ssl-ca=%2Fetc%2Frds%20ca.pem"),
        ] {
            let files = files(&names(engine, "DATABASE_ROOTS=/etc/rds ca.pem\n"), &fetched(KEY, "{}", &login("p"))).unwrap();
            assert!(of(&files, "worker.env").trim_end().ends_with(&format!("{query}\"")), "{}", of(&files, "worker.env"));
        }
    }

    #[test]
    fn a_secret_that_is_not_as_expected_is_named_and_not_shown() {
        for (key, worker, database, named) in [
            ("hunter2", "{}", "", "SECRET_KEY_ARN"),
            (KEY, "hunter2", "", "WORKER_SECRET_ARN, line 1"),
            (KEY, "{\"hunter2\": \"\"}", "", "WORKER_SECRET_ARN"),
            (KEY, "{\"smtp_password\": \"hunter2\\n\"}", "", "control character"),
            (KEY, "{\"dkim\": {\"../evil\": \"hunter2\"}}", "", "no file's name"),
            (KEY, "{\"dkim\": {\"a.pem\": \"hunter2\"}}", "", "PEM"),
            (KEY, "{}", "\"hunter2\"", "DATABASE_SECRET_ARN"),
            (KEY, "{}", "{\"username\": \"\", \"password\": \"hunter2\"}", "empty"),
        ] {
            let good = login("p");
            let database = if database.is_empty() { good.as_str() } else { database };
            let error = format!("{:#}", files(&names("postgres", ""), &fetched(key, worker, database)).unwrap_err());
            assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
        }
    }
}
