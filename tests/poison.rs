//! Every kind of actor dies at its worst moment, and somebody else pays nothing for it: the tree as it is documented, what each death
//! costs, and what happens when there are too many. The deaths are planted in the debug binary (`src/doom.rs`). Events that kill
//! whoever judges them are in `tests/dead_letters.rs`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::events::{check_invariants, event, noon_config};
use super::harness::http::Http;
use super::harness::kafka::{Broker, Sent};
use super::harness::node::{Node, wait_until};
use super::kafka::{config, published, taken};

/// The exit code of a node that cannot go on: the service manager starts it again.
const CANNOT_GO_ON: i32 = 69;

/// What there is of milk and of bread.
const PLENTY: i64 = 1_000_000;

/// A node, and the list of who is to die.
struct Doomed {
    node: Node,
    list: PathBuf,
    _directory: TempDir,
}

impl Doomed {
    fn start(config: &str) -> Doomed {
        let directory = TempDir::new().expect("a directory");
        let list = directory.path().join("doom");
        let builder = Node::builder().config(config);
        let node = builder.env("SHELFD_DOOM", &list.display().to_string()).start();
        Doomed {
            node,
            list,
            _directory: directory,
        }
    }

    /// Dooms those, each for one death.
    fn doom(&self, those: &[&str]) {
        let lines: String = those.iter().map(|who| format!("{who} 1\n")).collect();
        std::fs::write(&self.list, lines).expect("the list");
    }

    /// Whether all who were doomed have died.
    fn struck(&self) -> bool {
        let left = std::fs::read_to_string(&self.list).expect("the list");
        left.lines().all(|line| line.ends_with(" 0"))
    }

    /// The restarts of a kind, by the metrics.
    fn restarts(&self, actor: &str) -> u64 {
        let metrics = self.node.get("/metrics").text();
        let line = format!("shelfd_actor_restarts_total{{actor=\"{actor}\"}} ");
        metrics
            .lines()
            .find_map(|text| text.strip_prefix(&line)?.parse().ok())
            .unwrap_or_else(|| panic!("no {line} in {metrics}"))
    }
}

/// SKUs that are awake as soon as they are sold and judge all themselves, a quick follower's round, and a warehouse for transfers.
fn quick() -> String {
    format!(
        "[actors]\nwake_rate_per_s = 1\nhand_over_rows = 1\n\n[storage]\nsnapshot_interval_s = 1\n\n{}\n[[warehouse]]\nid = \"back\"\ntime_zone = \"UTC\"\n",
        noon_config()
    )
}

/// Sends until it is judged, as every client should; the last answer. `None`: the node is gone.
fn insist(http: &Http, method: &str, path: &str, body: &Value) -> Option<Value> {
    loop {
        let answer = http.try_send(
            method,
            path,
            &[("content-type", "application/json")],
            body.to_string().into_bytes(),
        );
        let answer = answer.ok()?;
        if !matches!(answer.status, 503 | 500) {
            return Some(answer.json());
        }
        assert_ne!(answer.code(), "internal_error", "nothing here is poison: {}", answer.text());
    }
}

fn told(http: &Http, event: &Value) -> String {
    let answer = insist(http, "POST", "/v1/events", event).expect("the node answers");
    match answer["verdict"].as_str() {
        Some("duplicate") => answer["first"].as_str().expect("a first verdict").to_owned(),
        Some(word) => word.to_owned(),
        None => panic!("no verdict: {answer}"),
    }
}

fn sku(node: &Node, warehouse: &str, sku: &str) -> Value {
    node.get(&format!("/v1/warehouses/{warehouse}/skus/{sku}"))
        .expect_status(200)
        .json()
}

fn sellable(node: &Node, name: &str) -> i64 {
    sku(node, "main", name)["accounts"]["sellable"].as_i64().expect("a quantity")
}

/// Milk and bread, plenty of each and each awake.
fn open_shop(node: &Node) {
    for name in ["milk", "bread"] {
        told(node, &event(&format!("open-{name}"), "receipt", name, PLENTY));
    }
}

/// Sales of both by four tills, a basket over both for every fifth, and transfers of milk, until all doomed have died, and ten
/// more of each.
fn business(doomed: &Doomed) -> i64 {
    let node = &doomed.node;
    let till = |till: usize| {
        let http = node.client();
        move || {
            let (mut sold, mut left) = (0, 10);
            while left > 0 {
                left -= usize::from(doomed.struck());
                sold += 1;
                for name in ["milk", "bread"] {
                    assert_eq!(
                        told(&http, &event(&format!("{till}-{sold}-{name}"), "sale", name, 1)),
                        "applied"
                    );
                }
                if sold % 5 == 1 {
                    let path = format!("/v1/warehouses/main/reservations/{till}-{sold}");
                    let hold = json!({"lines": [{"sku": "milk", "quantity": 1}, {"sku": "bread", "quantity": 1}]});
                    insist(&http, "PUT", &path, &hold).expect("the node answers");
                    let cancelled = insist(&http, "POST", &format!("{path}/cancel"), &json!({})).expect("the node answers");
                    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
                }
                if sold % 5 == 2 {
                    let mut out = event(&format!("{till}-{sold}-out"), "transfer_out", "milk", 1);
                    out["data"]["transfer"] = json!(format!("{till}-{sold}"));
                    out["data"]["to_warehouse"] = json!("back");
                    assert_eq!(told(&http, &out), "applied");
                }
            }
            sold as i64
        }
    };
    std::thread::scope(|scope| {
        let tills: Vec<_> = (0..4).map(|number| scope.spawn(till(number))).collect();
        tills.into_iter().map(|till| till.join().expect("a till")).sum()
    })
}

/// What each kind's death costs: nothing. Every event is answered and has its effect once, and nobody else dies.
#[test]
fn each_kind_dies_at_its_worst_moment_and_nothing_is_lost_or_done_twice() {
    let kinds = [
        ("sku", "sku"),
        ("sku_sent", "sku"),
        ("warehouse", "warehouse"),
        ("warehouse_sent", "warehouse"),
        ("sealer", "follower"),
        ("snapshots", "follower"),
        ("auditor", "follower"),
        ("forwarder", "follower"),
    ];
    // Retention looks once a minute, by the same code as the other followers.
    for (who, counted) in kinds {
        let mut doomed = Doomed::start(&quick());
        open_shop(&doomed.node);
        let before = ["sku", "warehouse", "follower"]
            .map(|actor| doomed.restarts(actor))
            .iter()
            .sum::<u64>();
        doomed.doom(&[who]);
        let sold = business(&doomed);
        let deaths = || {
            ["sku", "warehouse", "follower"]
                .map(|actor| doomed.restarts(actor))
                .iter()
                .sum::<u64>()
        };
        wait_until("the death to be noticed", || deaths() > before);
        assert_eq!(deaths(), before + 1, "{who}");
        assert_eq!(doomed.restarts(counted), 1, "{who}");
        assert!(doomed.node.is_running());
        assert_eq!(sellable(&doomed.node, "bread"), PLENTY - sold, "{who}");
        let sent = PLENTY - sold - sellable(&doomed.node, "milk");
        wait_until("the transfers' other side", || {
            let back = doomed.node.get("/v1/warehouses/back/skus/milk");
            back.status == 200 && back.json()["accounts"]["in_transit"] == sent
        });
        for name in ["milk", "bread"] {
            check_invariants(&sku(&doomed.node, "main", name));
        }
        assert_eq!(
            doomed.node.list("/v1/dead-letters"),
            Vec::<Value>::new(),
            "{who}: nothing was poison"
        );
        // The same is on the disk.
        doomed.node.kill();
        doomed.node.restart();
        assert_eq!(sellable(&doomed.node, "bread"), PLENTY - sold, "{who}");
    }
}

/// A supervisor that dies is its own supervisor's to start again, with all that stand on it.
#[test]
fn supervisors_that_die_are_started_again_with_what_stands_on_them() {
    for those in [["warehouse", "warehouses"], ["sealer", "followers"]] {
        let doomed = Doomed::start(&quick());
        open_shop(&doomed.node);
        doomed.doom(&those);
        let sold = business(&doomed);
        assert_eq!(sellable(&doomed.node, "bread"), PLENTY - sold, "{those:?}");
        assert_eq!(doomed.node.get("/readyz").status, 200);
    }
}

/// What no restart inside the process cures ends it, with an exit code that the service manager answers with a fresh one; what had
/// been answered is there, and what had not is done once when it is sent again.
#[test]
fn the_journal_and_the_root_take_the_process_with_them() {
    for those in [["journal"].as_slice(), &["journal_watch"], &["sealer", "followers", "root"]] {
        let mut doomed = Doomed::start(&quick());
        open_shop(&doomed.node);
        let http = doomed.node.client();
        doomed.doom(those);
        let mut answered = 0;
        while insist(
            &http,
            "POST",
            "/v1/events",
            &event(&format!("s-{answered}"), "sale", "bread", 1),
        )
        .is_some()
        {
            answered += 1;
        }
        let code = doomed.node.wait().code();
        assert_eq!(code, Some(CANNOT_GO_ON), "{those:?}: {}", doomed.node.log());
        assert!(doomed.struck(), "{those:?}");
        doomed.node.restart();
        let left = sellable(&doomed.node, "bread");
        assert!(
            (PLENTY - answered - 1..=PLENTY - answered).contains(&left),
            "{those:?}: {left} left, {answered} answered"
        );
        for number in 0..=answered {
            assert_eq!(told(&http, &event(&format!("s-{number}"), "sale", "bread", 1)), "applied");
        }
        assert_eq!(sellable(&doomed.node, "bread"), PLENTY - answered - 1, "{those:?}");
    }
}

/// Past its budget a warehouse is its supervisor's death, past that one's the root's, and past that the process's.
#[test]
fn a_warehouse_that_dies_again_and_again_ends_the_process_and_not_before_its_budget() {
    let mut doomed = Doomed::start(&quick());
    open_shop(&doomed.node);
    let http = doomed.node.client();
    // Tea sleeps, so the warehouse decides for it.
    assert_eq!(told(&http, &event("r", "receipt", "tea", 5)), "applied");
    std::fs::write(&doomed.list, "warehouse 1000000\n").expect("the list");
    assert_eq!(
        insist(&http, "POST", "/v1/events", &event("s", "sale", "tea", 1)),
        None,
        "it is never answered"
    );
    assert_eq!(doomed.node.wait().code(), Some(CANNOT_GO_ON));
    let left = std::fs::read_to_string(&doomed.list).expect("the list");
    let left: u64 = left
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|left| left.parse().ok())
        .expect("a number");
    // Eleven deaths are one too many for `warehouses`, which may die three times itself; the fourth is the root's end.
    assert_eq!(1_000_000 - left, 4 * 11);
    std::fs::write(&doomed.list, "").expect("the list");
    doomed.node.restart();
    assert_eq!(told(&http, &event("s", "sale", "tea", 1)), "applied");
    assert_eq!(sellable(&doomed.node, "tea"), 4);
}

#[test]
fn the_tree_is_as_documented() {
    let doomed = Doomed::start(&quick());
    open_shop(&doomed.node);
    let tree = doomed.node.cli(&["status", "--tree"]).expect_code(0).stdout;
    let documented = include_str!("../src/actors/mod.rs");
    let picture: Vec<&str> = documented
        .lines()
        .skip_while(|line| !line.starts_with("//! root"))
        .take_while(|line| *line != "//! ```")
        .collect();
    let words = |text: &str| -> Vec<String> {
        let names = text.split(|letter: char| !letter.is_ascii_alphabetic() && letter != '_');
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let shown = words(&tree);
    let mut from = 0;
    // Whoever has a line of the picture has one in the tree, in the same order; the last line names the followers.
    let followers = picture
        .last()
        .and_then(|line| line.split("one_for_one:").nth(1))
        .expect("a line of followers");
    for name in picture
        .iter()
        .filter_map(|line| words(line).into_iter().next())
        .chain(words(followers))
    {
        let at = shown[from..].iter().position(|word| *word == name);
        from += at.unwrap_or_else(|| panic!("{name} is not in its place in {tree}"));
    }
    assert!(
        ["main", "back", "rest_for_one"]
            .iter()
            .all(|name| shown.iter().any(|word| word == name)),
        "{tree}"
    );
    let status = doomed.node.get("/v1/status").json();
    let plans: Vec<&str> = status["plans"]
        .as_array()
        .expect("plans")
        .iter()
        .filter_map(|plan| plan["name"].as_str())
        .collect();
    assert_eq!(plans, ["root", "warehouses", "skus", "followers"]);
    assert!(
        status["plans"]
            .as_array()
            .expect("plans")
            .iter()
            .all(|plan| plan["intensity"].as_u64() > Some(0))
    );
}

/// The threads that speak to a broker die between the journal and the broker: nothing is taken twice, nothing is left out.
#[test]
fn threads_for_kafka_die_between_the_journal_and_the_broker_and_begin_where_the_journal_says() {
    let broker = Broker::shared();
    broker.topic("doom.in", 1, &[]);
    broker.topic("doom.out", 1, &[]);
    let topics = "[[kafka.in]]\ntopic = \"doom.in\"\n\n[[kafka.out]]\ntopic = \"doom.out\"\nwhat = \"updated\"\n";
    let doomed = Doomed::start(&config(broker, topics));
    doomed.doom(&["kafka_in", "kafka_out"]);
    for number in 0..20 {
        broker.produce("doom.in", [Sent::event(&event(&format!("m-{number}"), "receipt", "milk", 1))]);
    }
    taken(&doomed.node, broker, &["doom.in"]);
    wait_until("both deaths", || doomed.struck());
    broker.produce("doom.in", [Sent::event(&event("last", "receipt", "milk", 1))]);
    taken(&doomed.node, broker, &["doom.in"]);
    published(&doomed.node, &["doom.out"]);
    assert_eq!(sellable(&doomed.node, "milk"), 21);
    assert_eq!(
        doomed.restarts("follower") + doomed.restarts("warehouse") + doomed.restarts("sku"),
        0
    );
}
