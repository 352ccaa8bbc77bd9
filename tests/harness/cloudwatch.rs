//! A CloudWatch of a test's own that takes metrics: Smithy's RPC v2 CBOR over HTTP/1.1 on loopback, PutMetricData only.
//!
//! It refuses what Amazon's refuses (API reference, PutMetricData and MetricDatum), keeps the rest in memory, and does what
//! `Fault`s ask of it. It checks no credentials and reads no compressed call.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use minicbor::{Decoder, data::Type};
use replyfleet::clock::UnixMillis;
use serde_json::{Map, Value, json};

use crate::{
    faults::{Faults, Transport},
    http::{Answer, Asked, Server, Service, hang},
};

/// The action, by its name in the API.
pub const PUT: &str = "PutMetricData";
/// Amazon's limits of a call and of a datum.
const CALL_BYTES_MAX: usize = 1 << 20;
const DATA_MAX: usize = 1_000;
const VALUES_MAX: usize = 150;
const DIMENSIONS_MAX: usize = 30;
const HOUR_MS: u64 = 3_600_000;
const UNITS: [&str; 5] = ["Milliseconds", "Seconds", "Count", "Percent", "None"];

/// A datum as it came.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Datum {
    pub namespace: String,
    pub name: String,
    pub dimensions: BTreeMap<String, String>,
    pub at: UnixMillis,
    pub unit: String,
    pub resolution_s: u64,
    /// Each value, and how often it was there.
    pub values: Vec<(f64, f64)>,
}

impl Datum {
    /// The sum of all its values.
    pub fn sum(&self) -> f64 {
        self.values.iter().map(|(value, count)| value * count).sum()
    }
}

/// A running endpoint.
pub struct Endpoint {
    taken: Arc<Taken>,
    server: Server,
}

#[derive(Default)]
struct Taken {
    data: Mutex<Vec<Datum>>,
    /// Calls that came, whatever came of them, and why some were refused.
    calls: Mutex<(u64, Vec<String>)>,
    faults: Faults,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::start()
    }
}

impl Endpoint {
    /// An endpoint on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let taken = Arc::new(Taken::default());
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::clone(&taken));
        Self { taken, server }
    }

    /// What the SDK calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// All that it took, in the order in which it came.
    pub fn data(&self) -> Vec<Datum> {
        lock(&self.taken.data).clone()
    }

    /// What it took of one metric.
    pub fn of(&self, name: &str) -> Vec<Datum> {
        self.data().into_iter().filter(|datum| datum.name == name).collect()
    }

    /// The sum of all that it took of one metric.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).iter().map(Datum::sum).sum()
    }

    /// How many calls came, whatever came of them.
    pub fn calls(&self) -> u64 {
        lock(&self.taken.calls).0
    }

    /// Why calls were refused that broke a rule of Amazon's.
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.taken.calls).1.clone()
    }

    /// The knobs. The action is [`PUT`].
    pub fn faults(&self) -> &Faults {
        &self.taken.faults
    }
}

impl Service for Taken {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        let is_cbor = asked.headers.get("smithy-protocol").is_some_and(|protocol| protocol == "rpc-v2-cbor");
        if !is_cbor || asked.method != "POST" || !asked.path.ends_with(&format!("/operation/{PUT}")) {
            return Some(refusal(404, "UnknownOperationException", "this endpoint takes metrics by RPC v2 CBOR only"));
        }
        lock(&self.calls).0 += 1;
        let transport = self.faults.transport(PUT).await;
        match transport {
            Transport::Refuse(status, code) => return Some(refusal(status, &code, "a fault of the test's")),
            Transport::Cut => return None,
            Transport::Hang => match hang().await {},
            Transport::Act | Transport::ActThenCut | Transport::ActThenHang => {}
        }
        let answer = match read(&asked.body) {
            Ok(data) => {
                lock(&self.data).extend(data);
                Answer { status: 200, headers: headers(), body: Bytes::from_static(&[0xa0]) }
            }
            Err(why) => {
                lock(&self.calls).1.push(why.clone());
                refusal(400, "InvalidParameterValueException", &why)
            }
        };
        match transport {
            Transport::ActThenCut => None,
            Transport::ActThenHang => match hang().await {},
            _ => Some(answer),
        }
    }
}

fn headers() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/cbor".into()), ("smithy-protocol", "rpc-v2-cbor".into())]
}

/// An error as the protocol writes it: a map of two texts.
fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let mut body = vec![0xa2];
    for text in ["__type", code, "message", message] {
        let text = &text.as_bytes()[..text.len().min(255)];
        body.extend([0x78, u8::try_from(text.len()).expect("at most 255")]);
        body.extend(text);
    }
    // Amazon's own has the code by its older name besides.
    let query = ("x-amzn-query-error", format!("{};Sender", code.trim_end_matches("Exception")));
    Answer { status, headers: headers().into_iter().chain([query]).collect(), body: body.into() }
}

/// The data of a call, if Amazon's own would take them.
fn read(body: &[u8]) -> Result<Vec<Datum>, String> {
    let call = value(&mut Decoder::new(body)).map_err(|error| error.to_string())?;
    let namespace = text(&call["Namespace"])?;
    let data = call["MetricData"].as_array().ok_or("MetricData is required")?;
    ensure(body.len() <= CALL_BYTES_MAX, "the call has more than 1 MB")?;
    ensure((1..=DATA_MAX).contains(&data.len()), "a call has 1 to 1,000 data")?;
    ensure(!namespace.starts_with("AWS/"), "the namespace is reserved")?;
    data.iter().map(|datum| read_datum(&namespace, datum)).collect()
}

fn read_datum(namespace: &str, datum: &Value) -> Result<Datum, String> {
    let name = text(&datum["MetricName"])?;
    let list = |key: &str| datum[key].as_array().cloned().unwrap_or_default();
    let numbers =
        |key: &str| list(key).iter().map(|number| number.as_f64().ok_or(format!("{name}: {key} are no numbers"))).collect::<Result<Vec<_>, _>>();
    let (values, counts) = (numbers("Values")?, numbers("Counts")?);
    ensure(values.len() == counts.len() && (1..=VALUES_MAX).contains(&values.len()), &format!("{name}: 1 to 150 values, each with its count"))?;
    let distinct = values.iter().map(|value| value.to_bits()).collect::<std::collections::BTreeSet<_>>();
    ensure(distinct.len() == values.len(), &format!("{name}: a value is there twice"))?;
    ensure(values.iter().chain(&counts).all(|number| number.is_finite()), &format!("{name}: not a number"))?;
    let mut dimensions = BTreeMap::new();
    for dimension in list("Dimensions") {
        let (key, value) = (text(&dimension["Name"])?, text(&dimension["Value"])?);
        let is_plain =
            |text: &str| !text.is_empty() && text.len() <= 1_024 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.starts_with(':');
        ensure(is_plain(&key) && is_plain(&value), &format!("{name}: {key}={value} is no dimension"))?;
        ensure(dimensions.insert(key, value).is_none(), &format!("{name}: a dimension is there twice"))?;
    }
    ensure(dimensions.len() <= DIMENSIONS_MAX, &format!("{name}: more than 30 dimensions"))?;
    let at = datum["Timestamp"].as_f64().ok_or(format!("{name}: no time stamp"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of today")]
    let (at, now) = (UnixMillis((at * 1_000.0).round() as u64), UnixMillis::now());
    ensure(at.0 + 14 * 24 * HOUR_MS > now.0 && at.0 < now.0 + 2 * HOUR_MS, &format!("{name}: the time stamp is too old or in the future"))?;
    let unit = text(&datum["Unit"])?;
    ensure(UNITS.contains(&unit.as_str()), &format!("{name}: {unit} is no unit"))?;
    let resolution_s = datum["StorageResolution"].as_u64().unwrap_or(60);
    ensure([1, 60].contains(&resolution_s), &format!("{name}: the resolution is 1 or 60"))?;
    let values = values.into_iter().zip(counts).collect();
    Ok(Datum { namespace: namespace.into(), name, dimensions, at, unit, resolution_s, values })
}

fn ensure(is_so: bool, else_what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(else_what.to_owned()) }
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(|| format!("a text is missing: {value}"))
}

/// A CBOR item as JSON has it; a tag says nothing here that its place does not say.
fn value(decoder: &mut Decoder<'_>) -> Result<Value, minicbor::decode::Error> {
    Ok(match decoder.datatype()? {
        Type::Map | Type::MapIndef => {
            let (mut map, length) = (Map::new(), decoder.map()?);
            while is_more(decoder, length, map.len())? {
                let key = decoder.str()?.to_owned();
                map.insert(key, value(decoder)?);
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let (mut list, length) = (Vec::new(), decoder.array()?);
            while is_more(decoder, length, list.len())? {
                list.push(value(decoder)?);
            }
            Value::Array(list)
        }
        Type::Tag => {
            decoder.tag()?;
            value(decoder)?
        }
        Type::String => json!(decoder.str()?),
        Type::F32 => json!(decoder.f32()?),
        Type::F64 => json!(decoder.f64()?),
        Type::Bool => json!(decoder.bool()?),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        _ => json!(decoder.i64()?),
    })
}

/// Whether another item of a map or a list follows; the end of one without a length is read.
fn is_more(decoder: &mut Decoder<'_>, length: Option<u64>, have: usize) -> Result<bool, minicbor::decode::Error> {
    if let Some(length) = length {
        return Ok((have as u64) < length);
    }
    if decoder.datatype()? == Type::Break {
        decoder.set_position(decoder.position() + 1);
        return Ok(false);
    }
    Ok(true)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
