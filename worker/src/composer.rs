//! From a response to a reply that can leave: its files as the recipient's provider wants them called, the body that all
//! such replies share, the header of its own, and the signatures.
//!
//! It decides nothing about who is answered, and claims nothing: the worker asks it between ledger and sender, and so do
//! `replyfleet send` and `replyfleet preview`.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use replyfleet::{
    clock::UnixMillis,
    settings::{ProviderSettings, SenderSettings, Settings},
    store::Store,
};

use crate::{
    address::Address,
    attachments::Attachments,
    bodies::Bodies,
    catalogue::{Catalogue, Response, SendMethod, Translation},
    compose::{Body, Letterhead, Recipient, Reply, compose, file_name::renamed},
    provider::{AS_IT_IS, Providers},
    sign::Signer,
};

/// Bytes that are kept free for a header when a body is measured.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Everything that makes replies.
pub struct Composer {
    attachments: Attachments,
    bodies: Bodies,
    letterhead: Letterhead,
    providers: Providers,
    signer: Signer,
    signed: HashMap<SendMethod, Signature>,
    /// What leaves by SES's API, in base64.
    by_ses: HashSet<SendMethod>,
}

/// What of a header is signed.
#[derive(Clone, Copy)]
enum Signature {
    Whole,
    /// But for the fields that SES writes anew.
    ForSes,
}

/// Why there is no body now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// A file cannot be had; the log says which.
    Store,
    /// With its files it is more than the next hop, or the recipient's provider, takes.
    TooBig,
}

impl Composer {
    /// A composer by these settings, which keeps attachments in `cache_dir`.
    ///
    /// # Errors
    /// A sentence with the settings' key.
    pub fn open(settings: &Settings, store: Arc<dyn Store>, cache_dir: &Path) -> Result<Self, String> {
        let bounce = Address::parse(&settings.reply.bounce_address).ok_or("reply.bounce_address: is not an address")?;
        let letterhead = Letterhead {
            from_name: settings.reply.from_name.clone(),
            subject: settings.reply.subject.clone(),
            bounce,
            is_null_sender: settings.reply.null_sender,
            secret: settings.secret().map_err(|error| error.to_string())?,
        };
        let is_ses = |(method, sender)| matches!(sender, &SenderSettings::Ses(_)).then_some(method);
        Ok(Self {
            attachments: Attachments::new(store, cache_dir, settings.catalogue.refresh_s.duration()),
            bodies: Bodies::default(),
            letterhead,
            providers: Providers::new(&settings.providers),
            signer: Signer::open(settings)?,
            signed: signatures(settings),
            by_ses: senders(settings).filter_map(is_ses).collect(),
        })
    }

    /// Who the recipients' providers are.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The body of `response` in the language of `translation`, with its files for a customer of `provider`, if it is not
    /// larger than `message_bytes_max` and than the provider takes. It leaves by the sender of `method`.
    ///
    /// # Errors
    /// See [`Hindrance`].
    pub async fn body(
        &self,
        (response, translation): (&Response, Option<&Translation>),
        provider: Option<&ProviderSettings>,
        message_bytes_max: Option<usize>,
        method: SendMethod,
    ) -> Result<Arc<Body>, Hindrance> {
        let rename = provider.map_or(&AS_IT_IS, |provider| &provider.rename);
        let mut files = Vec::with_capacity(response.attachments.len());
        for attachment in &response.attachments {
            match self.attachments.get(attachment).await {
                Ok(content) => files.push((renamed(&attachment.file_name, rename), content)),
                Err(error) => {
                    tracing::error!(object = %attachment.object, error = %error, "an attachment cannot be had; replies with it wait");
                    return Err(Hindrance::Store);
                }
            }
        }
        let provider_max = provider.and_then(|provider| provider.message_bytes_max).map(|count| count.get());
        let bytes_max = [message_bytes_max, provider_max].into_iter().flatten().min();
        // Before it is rendered: what is never sent needs no room.
        let file_bytes: usize = files.iter().map(|(_, content)| content.encoded.bytes().len()).sum();
        let is_too_big = |bytes: usize| bytes_max.is_some_and(|max| bytes + HEAD_BYTES_MAX > max);
        if is_too_big(file_bytes) {
            return Err(Hindrance::TooBig);
        }
        let is_base64_needed = self.by_ses.contains(&method);
        let body = self.bodies.with_files((response, translation), &files, is_base64_needed).await;
        if is_too_big(body.len()) { Err(Hindrance::TooBig) } else { Ok(body) }
    }

    /// The body of `response` without its files.
    pub fn text(&self, response: &Response, translation: Option<&Translation>) -> Arc<Body> {
        self.bodies.text((response, translation))
    }

    /// The reply number `index` to `recipient` with `body`, signed if what leaves by the sender of `method` is.
    pub fn compose(
        &self,
        recipient: &Recipient<'_>,
        index: usize,
        what: (&Response, Option<&Translation>),
        body: Arc<Body>,
        method: SendMethod,
        now: UnixMillis,
    ) -> Reply {
        let signature = self.signed.get(&method);
        compose(&self.letterhead, recipient, index, what, body, now, |domain, head, body| match signature {
            None => Vec::new(),
            Some(Signature::Whole) => self.signer.sign(domain, head, body.hash(), now),
            Some(Signature::ForSes) => self.signer.sign_for_ses(domain, head, body.hash(), now),
        })
    }

    /// The domains of From in `catalogue` whose replies leave unsigned although their sender is set to sign.
    pub fn unsigned_domains(&self, catalogue: &Catalogue, now: UnixMillis) -> BTreeSet<String> {
        let domains = domains_by(&self.signed, catalogue);
        domains.filter(|domain| !self.signer.signs_for(domain, now)).map(str::to_owned).collect()
    }

    /// Lets go of what replies of `catalogue` do not need, and of what none needed for long.
    pub async fn keep_only(&self, catalogue: &Catalogue) {
        self.bodies.tidy();
        self.attachments.keep_only(catalogue).await;
    }
}

/// The domains of From in `catalogue` for which there is a response whose sender is set to sign.
pub fn domains_to_sign<'c>(settings: &Settings, catalogue: &'c Catalogue) -> BTreeSet<&'c str> {
    domains_by(&signatures(settings), catalogue).collect()
}

fn domains_by<'c>(signed: &HashMap<SendMethod, Signature>, catalogue: &'c Catalogue) -> impl Iterator<Item = &'c str> {
    let responses = catalogue.responses().iter().filter(|response| signed.contains_key(&response.send_method));
    responses.filter_map(|response| response.address.rsplit_once('@')).map(|(_, domain)| domain)
}

fn senders(settings: &Settings) -> impl Iterator<Item = (SendMethod, &SenderSettings)> {
    let senders = [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)];
    senders.into_iter().filter_map(|(method, sender)| Some((method, sender.as_ref()?)))
}

/// What is signed of the mail that each sender takes; nothing if it is not set to sign.
fn signatures(settings: &Settings) -> HashMap<SendMethod, Signature> {
    let signature = |sender: &SenderSettings| match sender {
        SenderSettings::Ses(ses) => ses.sign.then_some(Signature::ForSes),
        SenderSettings::Smtp(smtp) => smtp.sign.then_some(Signature::Whole),
        SenderSettings::Maildir { .. } => Some(Signature::Whole),
    };
    senders(settings).filter_map(|(method, sender)| Some((method, signature(sender)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_to_be_signed_if_a_sender_signs_that_has_one_of_its_responses() {
        let entry = |address: &str, method: &str| format!(r#"{{"email_addr": "{address}", "body": "x", "send_method": "{method}"}}"#);
        let entries = [entry("a@a.example", "SES"), entry("a@b.example", "SMTP"), entry("a@c.example", "SES"), entry("b@c.example", "SMTP")];
        let catalogue = Catalogue::parse(&format!("[{}]", entries.join(",")), &[SendMethod::Ses, SendMethod::Smtp]).expect("valid");
        for (sign, want) in [("# sign = true", &["a.example", "b.example", "c.example"][..]), ("sign = false", &["a.example", "c.example"])] {
            let text = include_str!("../../docs/replyfleet.toml").replace("# sign = true", sign);
            let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).expect("valid");
            assert_eq!(domains_to_sign(&settings, &catalogue).into_iter().collect::<Vec<_>>(), want, "{sign}");
        }
    }
}
