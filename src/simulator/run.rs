//! A seed's run: step by step something is asked for, something breaks, time passes, and everything is checked.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use xxhash_rust::xxh3::Xxh3Default;

use super::check::{Checker, Underway, word};
use super::disk::{Disk, Image};
use super::fold::{Broken, broken};
use super::kafka::{Kafka, Trouble};
use super::life::{Life, Setup};
use super::work::{Answer, Answers, Clients, Heard, Sight, now, send};
use crate::host::world;
use crate::kafka::peer::PARTITIONS;
use crate::planted::{self, Bug};

/// Steps of one run.
pub(super) const STEPS: u32 = 60;
/// 10 March 2026, 09:00 UTC.
const BEGIN_MS: i64 = 1_773_133_200_000;

/// What a run came to.
pub(super) struct Report {
    /// All that was asked, answered, written and decided, as one number.
    pub(super) hash: u64,
    /// What did not hold, and at which step.
    pub(super) broken: Option<(u32, Broken)>,
    /// The steps in words.
    pub(super) trace: Vec<String>,
    /// Facts at the end.
    pub(super) facts: u64,
    /// Lives of the node.
    pub(super) lives: u32,
    /// Answers that were heard.
    pub(super) answers: u64,
}

/// Runs a seed, with a bug planted or with none; only the steps that `wanted` says.
pub(super) fn run(seed: u64, bug: Option<Bug>, wanted: &dyn Fn(u32) -> bool) -> Report {
    planted::with(bug, || {
        let mut run = Run::new(seed);
        let broken = run.all(wanted).err().map(|broken| (run.step, broken));
        run.life = None;
        Report {
            hash: run.hash.digest(),
            broken,
            trace: run.trace,
            facts: run.checker.fold.seq,
            lives: run.lives,
            answers: run.heard,
        }
    })
}

struct Run {
    seed: u64,
    setup: Setup,
    step: u32,
    life: Option<Life>,
    lives: u32,
    clients: Clients,
    checker: Checker,
    answers: Answers,
    kafka: Kafka,
    requests: u64,
    heard: u64,
    /// Steps until the disk is whole again.
    trouble: u32,
    hash: Xxh3Default,
    trace: Vec<String>,
}

/// Who may die, by the names of `doom`.
const ACTORS: [&str; 14] = [
    "warehouse",
    "warehouse_sent",
    "warehouses",
    "sku",
    "sku_sent",
    "forwarder",
    "followers",
    "sealer",
    "snapshots",
    "retention",
    "auditor",
    "journal",
    "kafka_in",
    "kafka_out",
];

/// What may break.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PowerCut,
    CutWhileWriting(u32),
    Kill,
    Close,
    Die(&'static str, u32),
    Hiccup(u32),
    Full(u32),
    Slow(u32),
    Clock(i64),
}

impl Fault {
    fn any(chance: &mut Xoshiro256PlusPlus) -> Fault {
        let steps = chance.random_range(1..5);
        match chance.random_range(0..24) {
            0..=2 => Fault::PowerCut,
            3..=6 => Fault::CutWhileWriting(chance.random_range(1..25)),
            7 => Fault::Kill,
            8 => Fault::Close,
            9..=11 => Fault::Die("decide", chance.random_range(1..4)),
            12 => Fault::Die("judge", chance.random_range(1..4)),
            13..=14 => Fault::Die(ACTORS[chance.random_range(0..ACTORS.len())], steps),
            15..=17 => Fault::Hiccup(chance.random_range(1..3)),
            18..=19 => Fault::Full(steps),
            20..=21 => Fault::Slow(steps),
            _ => {
                let ms = [-86_400_000, -5_000, 700, 60_000, 3_600_000, 50_000_000][chance.random_range(0..6)];
                Fault::Clock(ms)
            }
        }
    }
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            seed,
            setup: Setup::new(seed),
            step: 0,
            life: None,
            lives: 0,
            clients: Clients::new(),
            checker: Checker::default(),
            answers: Answers::default(),
            kafka: Kafka::default(),
            requests: 0,
            heard: 0,
            trouble: 0,
            hash: Xxh3Default::new(),
            trace: Vec::new(),
        }
    }

    fn say(&mut self, line: String) {
        self.hash.update(line.as_bytes());
        self.trace.push(line);
    }

    fn all(&mut self, wanted: &dyn Fn(u32) -> bool) -> Result<(), Broken> {
        self.start(Image::default(), BEGIN_MS)?;
        for step in 1..=STEPS {
            self.step = step;
            if wanted(step) {
                self.one()?;
            }
        }
        self.step = STEPS + 1;
        self.rest()?;
        // Whatever was seen is there after the last power cut, too.
        self.again(true)?;
        self.rest()
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("a run has a node until it ends")
    }

    /// Starts the node on a disk as it lay.
    fn start(&mut self, image: Image, wall_ms: i64) -> Result<(), Broken> {
        self.lives += 1;
        self.trouble = 0;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(u64::from(self.lives));
        let disk = Disk::with(image, seed);
        let life = Life::start(&self.setup, disk, wall_ms, seed);
        let life = life.map_err(|error| broken("replay", format!("the node does not start: {error}")))?;
        world_is_calm(&life);
        self.answers = Answers::default();
        self.say(format!(
            "life {} at {wall_ms}, {} facts",
            self.lives,
            life.node().view().durable_seq()
        ));
        self.checker.after_a_start(life.node())?;
        self.kafka.meets(&life);
        self.life = Some(life);
        Ok(())
    }

    fn again(&mut self, power: bool) -> Result<(), Broken> {
        let Some(life) = self.life.take() else { return Ok(()) };
        // What was answered before the end was heard.
        let disk_history = life.disk.history();
        let (image, wall_ms) = life.kill(power);
        self.say(format!("the disk's history is {disk_history:x}"));
        self.start(image, wall_ms + 1_000)
    }

    fn one(&mut self) -> Result<(), Broken> {
        let mut chance =
            Xoshiro256PlusPlus::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(self.step)));
        for _ in 0..chance.random_range(0..4) {
            self.ask(&mut chance);
        }
        self.send_on_kafka();
        if chance.random_range(0..6) == 0 {
            let fault = Fault::any(&mut chance);
            self.say(format!("{}: {fault:?}", self.step));
            if self.suffer(fault)? {
                return Ok(());
            }
        }
        let ms = [0, 1, 5, 20, 60, 300, 1_200, 2_500][chance.random_range(0..8)];
        self.pass(ms)?;
        self.trouble = self.trouble.saturating_sub(1);
        self.kafka.pass();
        if self.trouble == 0 {
            self.life().disk.fill(false);
            world_is_calm(self.life());
        }
        Ok(())
    }

    /// What comes on Kafka, and what breaks there: by a chance of its own, so that the other one is as it would be without.
    fn send_on_kafka(&mut self) {
        let seed = self.seed.wrapping_mul(0x2545_f491).wrapping_add(u64::from(self.step));
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..chance.random_range(0..3) {
            let now = self.life().run(async { now() });
            let mut sight = Sight {
                chance: &mut chance,
                fold: &self.checker.fold,
                now,
            };
            let body = self.clients.message(&mut sight);
            let partition = chance.random_range(0..PARTITIONS);
            // A producer that has not heard the broker's answer sends again, and perhaps elsewhere.
            for again in 0..1 + u32::from(chance.random_range(0..8) == 0) {
                let partition = (partition + again as usize) % PARTITIONS;
                self.kafka.give(partition, &body);
                self.say(format!("{}: on partition {partition}: {body}", self.step));
            }
        }
        if chance.random_range(0..10) == 0 {
            let trouble = Trouble::any(&mut chance);
            self.say(format!("{}: {trouble:?}", self.step));
            self.kafka.suffer(trouble);
        }
    }

    fn ask(&mut self, chance: &mut Xoshiro256PlusPlus) {
        let now = self.life().run(async { now() });
        let mut sight = Sight {
            chance,
            fold: &self.checker.fold,
            now,
        };
        let (say, wait_ms) = self.clients.next(&mut sight);
        self.requests += 1;
        self.say(format!("{}: request {} in {wait_ms} ms: {say:?}", self.step, self.requests));
        let underway = Underway {
            say: say.clone(),
            begun: self.life().now(),
            from: self.checker.fold.seq,
        };
        self.checker.underway.insert(self.requests, underway);
        send(self.life(), self.requests, wait_ms, say, &self.answers);
    }

    /// Whether the step ends with it.
    fn suffer(&mut self, fault: Fault) -> Result<bool, Broken> {
        match fault {
            Fault::PowerCut | Fault::Kill => {
                self.pass(3)?;
                self.again(matches!(fault, Fault::PowerCut))?;
                return Ok(true);
            }
            Fault::Close => {
                if let Some(life) = self.life.take() {
                    let (image, wall_ms) = life.close();
                    self.start(image, wall_ms + 1_000)?;
                }
                return Ok(true);
            }
            Fault::CutWhileWriting(steps) => self.life().disk.cut_in(steps),
            Fault::Die(who, step) => {
                self.checker.fold.stumbled = true;
                self.life().run(async { world::doom(who, step) });
            }
            Fault::Hiccup(syncs) => {
                self.life().disk.hiccup(syncs);
                self.trouble = self.trouble.max(2);
            }
            Fault::Full(steps) => {
                self.life().disk.fill(true);
                self.trouble = self.trouble.max(steps + 1);
            }
            Fault::Slow(steps) => {
                self.life().run(async { world::commits_take(20, 400) });
                self.trouble = self.trouble.max(steps + 1);
            }
            Fault::Clock(ms) => self.life().run(async { world::jump(ms) }),
        }
        Ok(false)
    }

    /// Lets time pass, and checks all that came of it.
    fn pass(&mut self, ms: u64) -> Result<(), Broken> {
        self.life().pass(ms);
        let answers = std::mem::take(&mut *self.answers.lock());
        for answer in &answers {
            self.heard += 1;
            let line = format!(
                "{}: answer {} at {}: {}",
                self.step,
                answer.number,
                answer.at.0,
                in_words(answer)
            );
            self.say(line);
        }
        let life = self.life.take().ok_or_else(|| broken("replay", "there is no node"))?;
        if life.disk.is_dead() {
            // Only what was heard before the power went is held against the node.
            let before: Vec<Answer> = answers.into_iter().filter(|answer| answer.synced.is_some()).collect();
            let (image, wall_ms) = life.kill(true);
            self.checker.last_words(&before);
            return self.start(image, wall_ms + 1_000);
        }
        let checked = self.checker.step(&life, &self.setup, answers, ms, self.trouble == 0);
        let checked = checked.and_then(|new| {
            self.kafka.absorb(&new);
            self.kafka.check(&life, &self.checker.fold).map(|()| new)
        });
        self.say(self.kafka.in_words());
        let gave_up = life.gave_up();
        self.life = Some(life);
        for fact in checked? {
            let line = format!(
                "{}: fact {} {}/{} {} {:016x}",
                self.step,
                fact.seq,
                fact.warehouse,
                fact.what,
                fact.outcome.word(),
                super::fold::print(&fact)
            );
            self.say(line);
        }
        match gave_up {
            Some(why) => {
                self.say(format!("{}: it gave up: {why}", self.step));
                self.again(false)
            }
            None => Ok(()),
        }
    }

    /// Nothing breaks any more, and nobody asks.
    fn rest(&mut self) -> Result<(), Broken> {
        self.life().disk.fill(false);
        self.life().disk.hiccup(0);
        self.kafka.rest();
        world_is_calm(self.life());
        self.trouble = 0;
        for _ in 0..REST_S {
            self.pass(1_000)?;
        }
        self.checker.at_rest(self.life())?;
        self.kafka.at_rest(self.life(), &self.checker.fold)
    }
}

/// Seconds until everything is at rest: longer than anybody waits before the next try, which the forwarder and the publishers do for five.
const REST_S: u32 = 7;

/// Commits take a few milliseconds again.
fn world_is_calm(life: &Life) {
    life.run(async { world::commits_take(0, 8) });
}

fn in_words(answer: &Answer) -> String {
    match &answer.heard {
        Heard::Verdicts(verdicts) => {
            let words: Vec<String> = verdicts
                .iter()
                .map(|(event, verdict, _)| match verdict {
                    crate::actors::node::Verdict::Judged { seq, version, .. } => {
                        format!("{} {} fact {seq} version {version}", event.origin.id, word(verdict))
                    }
                    crate::actors::node::Verdict::NotJudged(_) => format!("{} {}", event.origin.id, word(verdict)),
                })
                .collect();
            words.join(", ")
        }
        Heard::Basket(Ok(basket)) => format!("{} version {}", basket.reservation.state.as_str(), basket.reservation.version),
        Heard::Basket(Err(error)) => format!("{error:?}"),
        Heard::Set(answer) => format!("{answer:?}"),
        Heard::Replayed(answer) => format!("{answer:?}"),
        Heard::Refused(refusal) => refusal.to_string(),
    }
}
