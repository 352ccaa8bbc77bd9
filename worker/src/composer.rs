//! From a response to a reply that can leave: its files as the recipient's provider wants them called, the body that all
//! such replies share, the header of its own, and the signatures.
//!
//! It decides nothing about who is answered, and claims nothing: the worker asks it between ledger and sender, and so do
//! `replyfleet send` and `replyfleet preview`.

use std::{
    collections::{BTreeSet, HashMap},
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
    attachments::{Attachments, Content},
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
        let signature = |sender: &Option<SenderSettings>| match sender.as_ref()? {
            SenderSettings::Ses(ses) => ses.sign.then_some(Signature::ForSes),
            SenderSettings::Smtp(smtp) => smtp.sign.then_some(Signature::Whole),
            SenderSettings::Maildir { .. } => Some(Signature::Whole),
        };
        let senders = [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)];
        Ok(Self {
            attachments: Attachments::new(store, cache_dir, settings.catalogue.refresh_s.duration()),
            bodies: Bodies::default(),
            letterhead,
            providers: Providers::new(&settings.providers),
            signer: Signer::open(settings)?,
            signed: senders.into_iter().filter_map(|(method, sender)| Some((method, signature(sender)?))).collect(),
        })
    }

    /// Who the recipients' providers are.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The body of `response` in the language of `translation`, with its files for a customer of `provider`, if it is not
    /// larger than `message_bytes_max` and than the provider takes.
    ///
    /// # Errors
    /// See [`Hindrance`].
    pub async fn body(
        &self,
        (response, translation): (&Response, Option<&Translation>),
        provider: Option<&ProviderSettings>,
        message_bytes_max: Option<usize>,
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
        let body = self.bodies.get(response, translation, &files);
        if is_too_big(body.len()) { Err(Hindrance::TooBig) } else { Ok(body) }
    }

    /// The body of `response` without its files.
    pub fn text(&self, response: &Response, translation: Option<&Translation>) -> Arc<Body> {
        self.bodies.get(response, translation, &[] as &[(String, Content)])
    }

    /// The reply number `index` to `recipient` with `body`, signed if what leaves by the response's sender is.
    pub fn compose(
        &self,
        recipient: &Recipient<'_>,
        index: usize,
        what: (&Response, Option<&Translation>),
        body: Arc<Body>,
        now: UnixMillis,
    ) -> Reply {
        let signature = self.signed.get(&what.0.send_method);
        compose(&self.letterhead, recipient, index, what, body, now, |domain, head, body| match signature {
            None => Vec::new(),
            Some(Signature::Whole) => self.signer.sign(domain, head, body.hash(), now),
            Some(Signature::ForSes) => self.signer.sign_for_ses(domain, head, body.hash(), now),
        })
    }

    /// The domains of From in `catalogue` whose replies leave unsigned although their sender is set to sign.
    pub fn unsigned_domains(&self, catalogue: &Catalogue, now: UnixMillis) -> BTreeSet<String> {
        let responses = catalogue.responses().iter().filter(|response| self.signed.contains_key(&response.send_method));
        let domains = responses.filter_map(|response| response.address.rsplit_once('@')).map(|(_, domain)| domain);
        domains.filter(|domain| !self.signer.signs_for(domain, now)).map(str::to_owned).collect()
    }
}
