//! `shelfd check --kafka`: the broker, every topic, rights and formats, tried before a start has to find out.
//!
//! Nothing is changed and nobody is disturbed: no group is joined, and the right to write is tried with a message that is too large
//! for its topic, which the broker refuses only after it has looked at the rights. Asking the broker for its access lists was
//! rejected: that needs a right of its own, and says what should be and not what is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Headers};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, ProducerContext};
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};

use crate::domain::units::Id;
use crate::domain::warehouse::Warehouse;
use crate::ingress::decode::Decoder;
use crate::ingress::message::Message;

use super::client::{Trouble, code};
use super::{In, Options, Out, What};

/// How long the broker may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(8);
/// A topic that takes more than this is not offered too much.
const LARGEST: usize = 24 << 20;
/// What Kafka takes when nobody says otherwise.
const USUAL_BYTES: usize = 1_048_588;

/// What a dead letter has beside the base64 of its message's body, generously.
const LETTER_BESIDE: usize = 64 << 10;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// As it should be.
    Good,
    /// It will bite.
    Warn,
    /// It does not work.
    Bad,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub weight: Weight,
    /// What was looked at.
    pub detail: String,
    /// What to do.
    pub help: Option<String>,
}

fn good(detail: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Good,
        detail: detail.into(),
        help: None,
    }
}

fn found(weight: Weight, detail: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding {
        weight,
        detail: detail.into(),
        help: Some(help.into()),
    }
}

/// What the client says while it tries.
#[derive(Clone, Default)]
struct Ears {
    errors: Arc<Mutex<Vec<String>>>,
    /// The broker's answer to each message that was offered.
    answers: Arc<Mutex<Vec<KafkaResult<()>>>>,
}

impl ClientContext for Ears {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.errors.lock().push(message.to_owned());
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.lock().push(format!("{}: {reason}", code(&error)));
    }
}

impl ConsumerContext for Ears {}

impl ProducerContext for Ears {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let answer = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        self.answers.lock().push(answer);
    }
}

/// Everything that can be tried. Blocks for as long as the broker does, with bounds.
pub fn check(options: &Options, warehouses: &BTreeMap<Id, Arc<Warehouse>>) -> Vec<Finding> {
    match tried(options, warehouses) {
        Ok(findings) => findings,
        Err(trouble) => vec![found(
            Weight::Bad,
            trouble.to_string(),
            "mend it in [kafka], or give the file to the node's user",
        )],
    }
}

fn tried(options: &Options, warehouses: &BTreeMap<Id, Arc<Warehouse>>) -> Result<Vec<Finding>, Trouble> {
    let mut settings = options.broker.settings()?;
    settings
        .set("group.id", format!("{}.light", options.group))
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.propagation.max.ms", "2000");
    let ears = Ears::default();
    let consumer: BaseConsumer<Ears> = settings.create_with_context(ears.clone())?;
    let begun = Instant::now();
    let metadata = loop {
        match consumer.fetch_metadata(None, Duration::from_secs(2)) {
            Ok(metadata) => break metadata,
            Err(error) => {
                // What went wrong is said to the callbacks, which run when somebody polls.
                drop(consumer.poll(Duration::from_millis(50)));
                if begun.elapsed() > PATIENCE {
                    return Ok(vec![unreachable(options, &error, &ears)]);
                }
            }
        }
    };
    let brokers = metadata.brokers().len();
    let mut findings = vec![good(format!("{}: {brokers} broker(s) answer", options.broker.addresses))];
    for one in &options.ins {
        findings.extend(input(one, options, &consumer, warehouses));
    }
    if !options.ins.is_empty() {
        findings.push(group(options, &consumer));
    }
    let admin: AdminClient<DefaultClientContext> = options.broker.settings()?.create()?;
    for out in &options.outs {
        findings.extend(output(out, options, &consumer, &admin)?);
    }
    Ok(findings)
}

fn unreachable(options: &Options, error: &KafkaError, ears: &Ears) -> Finding {
    let said = ears.errors.lock().clone();
    let telling = |word: &str| said.iter().rev().find(|text| text.to_lowercase().contains(word));
    let (words, help) = if let Some(text) = telling("authentication") {
        (
            text,
            "is it the right user, and is the password in kafka.password_file that user's? does kafka.sasl_mechanism suit the broker?",
        )
    } else if let Some(text) = telling("certificate").or_else(|| telling("ssl")) {
        (
            text,
            "is the broker's certificate still valid, of an authority in kafka.ca_file, and for the name in kafka.brokers? does this port speak TLS?",
        )
    } else if let Some(text) = telling("resolve") {
        (text, "is the name in kafka.brokers right, and known here?")
    } else if let Some(text) = telling("refused").or_else(|| telling("disconnected")) {
        (
            text,
            "does the broker run, and does it listen there with this kafka.security? the node starts without it, and catches up",
        )
    } else {
        (
            &code(error),
            "does the broker run, and can it be reached from here? the node starts without it, and catches up",
        )
    };
    let words = words.split(" (after ").next().unwrap_or(words);
    found(Weight::Bad, format!("{}: {words}", options.broker.addresses), help)
}

/// How many partitions a topic has, or what is wrong with it.
fn partitions(topic: &str, consumer: &BaseConsumer<Ears>, settings: &str) -> Result<usize, Finding> {
    let missing = || {
        found(
            Weight::Bad,
            format!("topic {topic}: the broker does not have it"),
            format!("create it: kafka-topics.sh --create --topic {topic} --partitions 3{settings}"),
        )
    };
    // By its name: a list of all topics leaves out those that may not be seen.
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
    let metadata = metadata.map_err(|error| {
        found(
            Weight::Bad,
            format!("topic {topic}: {}", code(&error)),
            "look at the broker's log",
        )
    })?;
    let known = metadata
        .topics()
        .iter()
        .find(|known| known.name() == topic)
        .ok_or_else(missing)?;
    match known.error().map(Code::from) {
        None | Some(Code::NoError) => Ok(known.partitions().len()),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Err(missing()),
        Some(what) => Err(found(
            Weight::Bad,
            format!("topic {topic}: {what}"),
            "give the node's user the right to describe it",
        )),
    }
}

/// A topic that is taken from: is it there, may it be read, and can its newest message be taken?
fn input(
    one: &In,
    options: &Options,
    consumer: &BaseConsumer<Ears>,
    warehouses: &BTreeMap<Id, Arc<Warehouse>>,
) -> Option<Finding> {
    let topic = &one.topic;
    let count = match partitions(topic, consumer, "") {
        Ok(count) => count,
        Err(finding) => return Some(finding),
    };
    let mut newest = None;
    for partition in 0..count as i32 {
        let (low, high) = match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(marks) => marks,
            Err(error) => {
                return Some(found(
                    Weight::Bad,
                    format!("topic {topic}: {}", code(&error)),
                    "give the node's user the right to read it",
                ));
            }
        };
        if low < high {
            newest = Some((partition, high - 1));
        }
    }
    let Some((partition, offset)) = newest else {
        return Some(good(format!("topic {topic}: {count} partition(s), empty")));
    };
    let mut list = TopicPartitionList::new();
    let assigned = list
        .add_partition_offset(topic, partition, Offset::Offset(offset))
        .and_then(|()| consumer.assign(&list));
    if let Err(error) = assigned {
        return Some(found(
            Weight::Bad,
            format!("topic {topic}: {}", code(&error)),
            "give the node's user the right to read it",
        ));
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => {
                let help = format!("give the node's user the right to read the topic {topic}");
                return Some(found(Weight::Bad, format!("topic {topic}: {}", code(&error)), help));
            }
            Some(Ok(came)) if came.topic() != topic => {}
            Some(Ok(came)) => {
                let headers = came.headers().into_iter().flat_map(Headers::iter);
                let message = Message {
                    headers: headers
                        .map(|header| (header.key.into(), header.value.unwrap_or_default()))
                        .collect(),
                    body: came.payload(),
                };
                return Some(format_of(
                    topic,
                    count,
                    (partition, came.offset()),
                    &message,
                    options,
                    warehouses,
                ));
            }
        }
    }
    // A transaction's mark is at its end, or the message was compacted away meanwhile.
    Some(good(format!("topic {topic}: {count} partition(s), may be read")))
}

fn format_of(
    topic: &str,
    count: usize,
    place: (i32, i64),
    message: &Message<'_>,
    options: &Options,
    warehouses: &BTreeMap<Id, Arc<Warehouse>>,
) -> Finding {
    let rows = message.decode(options.max_rows, &mut Decoder::new(warehouses, None));
    let (partition, offset) = place;
    match rows.into_iter().find_map(Result::err) {
        None => good(format!(
            "topic {topic}: {count} partition(s), may be read, and its newest message can be taken"
        )),
        Some(rejected) => found(
            Weight::Warn,
            format!(
                "topic {topic}: its newest message ({partition}/{offset}) would be a dead letter: {}",
                rejected.refusal.detail
            ),
            "docs/kafka.md says what messages look like; warehouses that were declared over the API are not known to this check",
        ),
    }
}

fn group(options: &Options, consumer: &BaseConsumer<Ears>) -> Finding {
    let mut list = TopicPartitionList::new();
    for one in &options.ins {
        list.add_partition(&one.topic, 0);
    }
    match consumer.committed_offsets(list, PATIENCE) {
        Err(error) if matches!(error.rdkafka_error_code(), Some(Code::GroupAuthorizationFailed)) => found(
            Weight::Bad,
            format!("group {}: {}", options.group, code(&error)),
            format!(
                "give the node's user the right to read the groups {0}.light and {0}.heavy",
                options.group
            ),
        ),
        Err(error) => found(
            Weight::Warn,
            format!("group {}: {}", options.group, code(&error)),
            "look at the broker's log",
        ),
        Ok(_) => good(format!("group {}: may be used", options.group)),
    }
}

/// A topic that is published to: is it there, is it made for what is published, and may it be written?
fn output(
    out: &Out,
    options: &Options,
    consumer: &BaseConsumer<Ears>,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<Vec<Finding>, Trouble> {
    let topic = &out.topic;
    let compacted = out.what == What::Availability;
    let settings = if compacted { " --config cleanup.policy=compact" } else { "" };
    let count = match partitions(topic, consumer, settings) {
        Ok(count) => count,
        Err(finding) => return Ok(vec![finding]),
    };
    let told = settings_of(topic, admin);
    let mut findings = Vec::new();
    match told.get("cleanup.policy") {
        Some(policy) if compacted && !policy.contains("compact") => findings.push(found(
            Weight::Warn,
            format!("topic {topic}: it is not compacted ({policy}), so it forgets SKUs that have not changed for a while"),
            format!("kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact"),
        )),
        Some(policy) if !compacted && policy.contains("compact") => findings.push(found(
            Weight::Warn,
            format!("topic {topic}: it is compacted, so changes of one key are lost but for the newest"),
            format!("kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete"),
        )),
        _ => {}
    }
    let most = told
        .get("max.message.bytes")
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(USUAL_BYTES);
    let letter = options.max_bytes.div_ceil(3) * 4 + LETTER_BESIDE;
    if out.what == What::DeadLetters && most < letter {
        findings.push(found(
            Weight::Warn,
            format!("topic {topic}: it takes {most} bytes, and the letter of a large message has up to {letter}: such a one would stop it"),
            format!("kafka-configs.sh --alter --topic {topic} --add-config max.message.bytes={letter}"),
        ));
    }
    findings.push(match may_write(topic, most, options)? {
        None => good(format!("topic {topic}: {count} partition(s), may be written")),
        Some(error) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => found(
            Weight::Bad,
            format!("topic {topic}: {}", code(&error)),
            "give the node's user the right to write to it",
        ),
        Some(error) => found(
            Weight::Bad,
            format!("topic {topic}: {}", code(&error)),
            "look at the broker's log",
        ),
    });
    Ok(findings)
}

/// What the broker says of a topic's settings; nothing when it may not be asked.
fn settings_of(topic: &str, admin: &AdminClient<DefaultClientContext>) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return BTreeMap::new() };
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let told: KafkaResult<Vec<Result<ConfigResource, Code>>> =
        runtime.block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let entries = told.into_iter().flatten().flatten().flat_map(|resource| resource.entries);
    entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

/// Offers a message that is too large; `None` when the broker would have taken a smaller one.
fn may_write(topic: &str, most: usize, options: &Options) -> Result<Option<KafkaError>, Trouble> {
    if most > LARGEST {
        return Ok(None);
    }
    let ears = Ears::default();
    let mut settings = options.broker.settings()?;
    settings
        .set("message.max.bytes", "100000000")
        .set("message.timeout.ms", PATIENCE.as_millis().to_string())
        .set("allow.auto.create.topics", "false");
    let producer: BaseProducer<Ears, NoCustomPartitioner> = settings.create_with_context(ears.clone())?;
    let body = vec![b'.'; most + 1024];
    if let Err((error, _)) = producer.send(BaseRecord::<(), [u8], ()>::to(topic).payload(&body)) {
        return Ok(Some(error));
    }
    let begun = Instant::now();
    while ears.answers.lock().is_empty() && begun.elapsed() < PATIENCE + Duration::from_secs(1) {
        producer.poll(Duration::from_millis(100));
    }
    let answer = ears.answers.lock().pop();
    Ok(match answer {
        Some(Err(error)) if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) => None,
        Some(Err(error)) => Some(error),
        Some(Ok(())) | None => None,
    })
}
