//! What is kept of an answer from DNS: the records that were asked for, bounded, and how much memory they take.
//!
//! A message of 64 KB can hold thousands of tiny records and takes a megabyte once it is decoded; so it is thrown away as
//! soon as it came, and this is all that lives on. Left to others: asking, and for how long an answer is remembered.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::{
    lookup::Lookup,
    proto::rr::{Name, RData, RecordType},
};

/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 100;
/// Bytes of a TXT record that are looked at; a longer one is passed over. An RSA key of 8192 bits takes 1.4 KB.
const TXT_BYTES_MAX: usize = 4 << 10;
/// What an allocation of its own costs besides its bytes: pointer, length, capacity, and the allocator's head.
const ALLOCATION_BYTES: usize = 40;

/// The records of one kind; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Texts(Vec<Vec<u8>>),
    Ipv4(Vec<Ipv4Addr>),
    Ipv6(Vec<Ipv6Addr>),
    /// In lower case without the last dot; mail hosts by preference.
    Hosts(Vec<String>),
}

impl Answer {
    /// The records of `kind` in an answer; `None` if there is none that is looked at.
    pub(super) fn of(found: &Lookup, kind: RecordType) -> Option<Self> {
        let answer = match kind {
            RecordType::TXT => Self::Texts(bounded(found, text)),
            RecordType::A => Self::Ipv4(bounded(found, |data| if let RData::A(address) = data { Some(address.0) } else { None })),
            RecordType::AAAA => Self::Ipv6(bounded(found, |data| if let RData::AAAA(address) = data { Some(address.0) } else { None })),
            RecordType::PTR => Self::Hosts(bounded(found, |data| if let RData::PTR(name) = data { Some(host(name)) } else { None })),
            RecordType::MX => {
                let mut hosts = bounded(found, |data| if let RData::MX(mx) = data { Some((mx.preference, host(&mx.exchange))) } else { None });
                hosts.sort();
                Self::Hosts(hosts.into_iter().map(|(_, host)| host).collect())
            }
            _ => return None,
        };
        (answer.count() > 0).then_some(answer)
    }

    /// The memory that it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let own = |length: usize| length + ALLOCATION_BYTES;
        match self {
            Self::Texts(texts) => texts.iter().map(|text| own(text.len())).sum(),
            Self::Ipv4(addresses) => size_of_val(addresses.as_slice()),
            Self::Ipv6(addresses) => size_of_val(addresses.as_slice()),
            Self::Hosts(hosts) => hosts.iter().map(|host| own(host.len())).sum(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Ipv4(addresses) => addresses.len(),
            Self::Ipv6(addresses) => addresses.len(),
            Self::Hosts(hosts) => hosts.len(),
        }
    }
}

/// A TXT record with its strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
fn text(data: &RData) -> Option<Vec<u8>> {
    let RData::TXT(txt) = data else { return None };
    let length: usize = txt.txt_data.iter().map(|part| part.len()).sum();
    (length <= TXT_BYTES_MAX).then(|| txt.txt_data.concat())
}

fn bounded<T>(found: &Lookup, wanted: impl Fn(&RData) -> Option<T>) -> Vec<T> {
    // CNAMEs on the way stand among the answers, too.
    let mut records: Vec<T> = found.answers().iter().filter_map(|record| wanted(&record.data)).take(RECORDS_MAX).collect();
    records.shrink_to_fit();
    records
}

/// A name as text, byte for byte: hickory's own form escapes what is unusual, and would then ask for the escapes.
pub(super) fn host(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).to_lowercase()).collect();
    labels.join(".")
}
