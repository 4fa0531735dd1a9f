//! A real broker for tests: started by the project's own script on free ports, shared by the tests of one file, gone with them.
//!
//! rdkafka's mock cluster was rejected: it knows no rights, no compaction and no retention, and proves only that the client speaks
//! to itself. A test that cannot have its broker fails and says what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with a directory of its own.
pub struct Broker {
    dir: PathBuf,
    ports: [u16; 5],
    /// Ends the broker when this process ends, however it ends.
    watch: Child,
}

/// A message as it was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// The key as text.
    pub key: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Record {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

/// Ports that are free, each given out once: that of a broker which is stopped is free as well, and must not be another's when it is
/// started again. They are below those that the system gives to whoever asks for any (from 32,768 on).
fn free_ports() -> [u16; 5] {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    std::array::from_fn(|_| {
        loop {
            let next = std::process::id()
                .wrapping_mul(131)
                .wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
            let port = 10_000 + (next % 22_000) as u16;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

#[test]
fn the_port_of_a_broker_that_is_stopped_is_given_to_nobody_else() {
    let given: Vec<u16> = (0..40).flat_map(|_| free_ports()).collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
    assert!(given.iter().all(|port| *port < 32_768), "{given:?}");
}

impl Broker {
    /// The broker that all tests of this file share; each has topics of its own.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// A broker of the test's own, to be killed and started again.
    pub fn start() -> Broker {
        let broker = Broker::absent();
        broker.up();
        broker
    }

    /// A broker that is not started yet: its address is known, and nobody answers there.
    pub fn absent() -> Broker {
        let name = format!("shelfd-kafka-{}-{:x}", std::process::id(), rand::random::<u32>());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory for the broker");
        let end = format!("read -r _; kill -9 $(cat {0}/pid); rm -rf {0}", dir.display());
        let watch = Command::new("sh")
            .args(["-c", &end])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Broker {
            dir,
            ports: free_ports(),
            watch,
        }
    }

    /// Runs the project's script.
    pub fn script(&self, args: &[&str]) -> String {
        let [port, controller, sasl, tls, expired] = self.ports;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka.sh");
        let ran = Command::new(&script)
            .args(args)
            .env("SHELFD_KAFKA_PORT", port.to_string())
            .env("SHELFD_KAFKA_CONTROLLER_PORT", controller.to_string())
            .env("SHELFD_KAFKA_SECURE", format!("{sasl},{tls},{expired}"))
            .env("SHELFD_KAFKA_TIER", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}", script.display()));
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(
            ran.status.success(),
            "scripts/kafka.sh {args:?}: {}\n{text}{}\nA broker needs Java and, once, Maven: scripts/setup.sh installs both.",
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        );
        text
    }

    /// Starts it, and waits until it answers.
    pub fn up(&self) {
        self.script(&["start", &self.dir.display().to_string()]);
        let answers = || self.admin().inner().fetch_metadata(None, Duration::from_secs(2)).is_ok();
        super::node::wait_until("the broker", answers);
    }

    fn pid(&self) -> String {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("the broker's process id");
        pid.trim().to_owned()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&self) {
        let pid = self.pid();
        let _ = Command::new("kill").args(["-9", &pid]).status();
        super::node::wait_until("the broker's end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }

    /// SIGTERM, and waits until it has closed its files.
    pub fn stop(&self) {
        self.script(&["stop", &self.dir.display().to_string()]);
    }

    /// `127.0.0.1:PORT`, in the clear.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Where a password is asked for.
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// Over TLS.
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[3])
    }

    /// Over TLS, with a certificate that has expired.
    pub fn expired_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[4])
    }

    /// A file of the broker: `password`, `ca.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.address());
        settings
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.settings().create().expect("a client")
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// Makes a topic.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = Self::wait(self.admin().create_topics([&topic], &AdminOptions::new()));
        for result in made.expect("the broker answers") {
            result.unwrap_or_else(|(topic, error)| panic!("topic {topic}: {error}"));
        }
    }

    /// Throws a topic away, and waits until it is gone.
    pub fn drop_topic(&self, name: &str) {
        let done = Self::wait(self.admin().delete_topics(&[name], &AdminOptions::new()));
        done.expect("the broker answers");
        super::node::wait_until("the topic's end", || {
            let known = self
                .admin()
                .inner()
                .fetch_metadata(None, Duration::from_secs(5))
                .expect("metadata");
            !known.topics().iter().any(|topic| topic.name() == name)
        });
    }

    /// Gives a topic more partitions.
    pub fn partitions(&self, name: &str, count: usize) {
        let done = Self::wait(
            self.admin()
                .create_partitions([&NewPartitions::new(name, count)], &AdminOptions::new()),
        );
        done.expect("the broker answers");
    }

    /// Throws away the messages of a partition below an offset, as retention does.
    pub fn cut(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))
            .expect("a place");
        let done = Self::wait(self.admin().delete_records(&list, &AdminOptions::new()));
        done.expect("the broker answers");
    }

    /// A producer, with settings of its own.
    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut all = self.settings();
        all.set("linger.ms", "1");
        for (key, value) in settings {
            all.set(*key, *value);
        }
        all.create().expect("a producer")
    }

    /// Sends messages, and waits until the broker has them.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Sent>) {
        let producer = self.producer(&[("message.max.bytes", "20000000")]);
        for sent in messages {
            sent.send(&producer, topic);
        }
        producer.flush(PATIENCE).expect("the broker takes them");
    }

    /// Joins a group as a consumer of its own.
    pub fn join(&self, group: &str, topic: &str) -> Member {
        let mut settings = self.settings();
        settings.set("group.id", group).set("auto.offset.reset", "earliest");
        settings
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = settings.create().expect("a consumer");
        consumer.subscribe(&[topic]).expect("a subscription");
        let (stop, stopped) = std::sync::mpsc::channel();
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = seen.clone();
        let thread = std::thread::spawn(move || {
            while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                    let committed = consumer.commit_message(&message, rdkafka::consumer::CommitMode::Sync);
                    count.fetch_add(usize::from(committed.is_ok()), std::sync::atomic::Ordering::SeqCst);
                }
            }
        });
        Member {
            stop: Some(stop),
            seen,
            thread: Some(thread),
        }
    }

    /// How many messages of a topic a group has not committed; `None`: it has committed nothing of a partition that has some.
    pub fn group_lag(&self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = self.settings().set("group.id", group).clone().create().ok()?;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition(topic, partition.id());
        }
        let committed = consumer.committed_offsets(list, PATIENCE).ok()?;
        let mut lag = 0;
        for element in committed.elements() {
            let (low, high) = consumer.fetch_watermarks(topic, element.partition(), PATIENCE).ok()?;
            match element.offset() {
                Offset::Offset(at) => lag += (high - at).max(0),
                _ if low == high => {}
                _ => return None,
            }
        }
        Some(lag)
    }

    /// Everything that a topic holds now, partition by partition in order.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut settings = self.settings();
        settings
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = settings.create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let mut ends = BTreeMap::new();
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition.id(), PATIENCE)
                .expect("watermarks");
            if low < high {
                ends.insert(partition.id(), high);
                list.add_partition_offset(topic, partition.id(), Offset::Offset(low))
                    .expect("a place");
            }
        }
        consumer.assign(&list).expect("an assignment");
        let mut records = Vec::new();
        let begun = std::time::Instant::now();
        while !ends.is_empty() {
            assert!(
                begun.elapsed() < PATIENCE,
                "the topic {topic} could not be read to its end: {ends:?}"
            );
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else {
                // Compaction may have taken the last ones.
                let position = consumer.position().expect("positions");
                ends.retain(|partition, high| {
                    let at = position.find_partition(topic, *partition).map(|it| it.offset());
                    !matches!(at, Some(Offset::Offset(at)) if at >= *high)
                });
                continue;
            };
            if ends
                .get(&message.partition())
                .is_some_and(|high| message.offset() + 1 >= *high)
            {
                ends.remove(&message.partition());
            }
            records.push(record(&message));
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }
}

fn record(message: &impl Message) -> Record {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let mut headers = BTreeMap::new();
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        headers.insert(header.key.to_owned(), text(header.value));
    }
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()),
        headers,
        body: message.payload().unwrap_or_default().to_vec(),
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its end of the pipe closes, and the shell ends the broker.
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// Another member of a group: takes what it is given and commits it. Leaves when it is dropped.
pub struct Member {
    stop: Option<std::sync::mpsc::Sender<()>>,
    seen: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Member {
    /// Waits until it has taken and committed so many messages; how many it has.
    pub fn commit_some(&self, least: usize) -> usize {
        let seen = || self.seen.load(std::sync::atomic::Ordering::SeqCst);
        super::node::wait_until("the other member to take some", || seen() >= least);
        seen()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The key.
    pub key: String,
    /// The partition; the key's without one.
    pub partition: Option<i32>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Sent {
    /// An event in structured mode, under its warehouse and SKU.
    pub fn event(event: &Value) -> Sent {
        let text = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
        Sent {
            key: format!("{}/{}", text("warehouse"), text("sku")),
            headers: vec![("content-type".into(), "application/cloudevents+json".into())],
            body: event.to_string().into_bytes(),
            ..Sent::default()
        }
    }

    /// Anything.
    pub fn bytes(key: &str, body: &[u8]) -> Sent {
        Sent {
            key: key.to_owned(),
            body: body.to_vec(),
            ..Sent::default()
        }
    }

    /// Hands it to a producer.
    pub fn send(&self, producer: &BaseProducer, topic: &str) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &self.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::to(topic).key(&self.key).payload(&self.body).headers(headers);
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        while let Err((error, back)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull);
            assert!(full, "{error}");
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
}
