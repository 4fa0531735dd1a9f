//! Sixteen clients at once see one shop: there is an order of all their calls, true to the clock, in which each would have been
//! answered as it was. Also across `kill -9`, where what was not answered has happened whole or not at all.
//!
//! The checker proves itself first, on histories and verdicts of others; and histories of the node with one planted lie are refused.

#[path = "linearizable/checker.rs"]
mod checker;
#[path = "linearizable/clients.rs"]
mod clients;
#[path = "linearizable/recorded.rs"]
mod recorded;
#[path = "linearizable/shop.rs"]
mod shop;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::data::{shared_file, tally};
use crate::harness::events::event;
use crate::harness::node::Node;
use crate::harness::torture;

use checker::{Call, Verdict, check};
use clients::{SKUS, Street};
use shop::{Held, Kind, Op, Page, Shop, Told};

/// Of so many histories one has a `kill -9` in it.
const A_KILL_EVERY: u64 = 10;
/// A store of its own for so many histories, so that the last ones are not slower than the first.
const HISTORIES_OF_A_NODE: u64 = 200;
/// Configurations that a search may look at: a hundred times what the hardest of these histories took.
const BOUND: usize = 3_000_000;

/// What the project keeps itself: a register and a map, right and wrong.
const SAMPLES: [(&str, &str, bool); 4] = [
    (
        "jepsen/right",
        "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 1\t:invoke\t:read\tnil\nINFO  jepsen.util - 1\t:ok\t:read\t1\n\
         INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n",
        true,
    ),
    (
        "jepsen/wrong",
        "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:ok\t:write\t1\nINFO  jepsen.util - 1\t:invoke\t:cas\t[1 2]\n\
         INFO  jepsen.util - 1\t:fail\t:cas\t[1 2]\n",
        false,
    ),
    (
        "kv/right",
        "{:process 0, :type :invoke, :f :append, :key \"0\", :value \"x\"}\n{:process 1, :type :invoke, :f :get, :key \"0\", :value nil}\n\
         {:process 1, :type :ok, :f :get, :key \"0\", :value \"x\"}\n{:process 0, :type :ok, :f :append, :key \"0\", :value \"x\"}\n",
        true,
    ),
    (
        "kv/wrong",
        "{:process 0, :type :invoke, :f :put, :key \"0\", :value \"x\"}\n{:process 0, :type :ok, :f :put, :key \"0\", :value \"x\"}\n\
         {:process 1, :type :invoke, :f :get, :key \"0\", :value nil}\n{:process 1, :type :ok, :f :get, :key \"0\", :value \"\"}\n",
        false,
    ),
];

#[test]
fn the_checker_agrees_with_every_verdict_on_recorded_histories() {
    for (name, text, expected) in SAMPLES {
        assert_eq!(recorded::judge(Path::new(name), text), expected, "{name}");
    }
    let Some(verdicts) = shared_file("histories/expected.json") else {
        return;
    };
    let verdicts = std::fs::read_to_string(verdicts).expect("the verdicts");
    let verdicts: Value = serde_json::from_str(&verdicts).expect("JSON");
    let verdicts = verdicts.as_object().expect("a verdict for each file");
    for (name, expected) in verdicts {
        let file = shared_file(&format!("histories/test_data/{name}")).expect("it stands beside its verdict");
        let text = std::fs::read_to_string(&file).expect("a text");
        assert_eq!(Some(recorded::judge(&file, &text)), expected.as_bool(), "{name}");
    }
    for kind in [true, false] {
        assert!(verdicts.values().any(|verdict| *verdict == kind), "both kinds");
    }
    tally("linearizability_verdicts", verdicts.len() as u64, "histories");
}

#[test]
fn every_history_of_sixteen_clients_has_an_order_also_across_kill_9() {
    let histories = torture::cases(200, 5_000);
    let (mut calls, mut kills) = (0, 0);
    for first in (0..histories).step_by(HISTORIES_OF_A_NODE as usize) {
        let mut node = Node::start();
        for number in first..histories.min(first + HISTORIES_OF_A_NODE) {
            let kill = number % A_KILL_EVERY == A_KILL_EVERY - 1;
            let (street, history) = record(&mut node, number, kill);
            judge(&street, &history, number);
            (calls, kills) = (calls + history.len(), kills + u64::from(kill));
        }
        assert!(node.terminate().success(), "{}", node.log());
        if torture::tortured() {
            eprintln!("linearizable: {} of {histories}", histories.min(first + HISTORIES_OF_A_NODE));
        }
    }
    println!("{histories} histories, {calls} calls, {kills} kills");
    torture::report("linearizable", histories, 0);
}

fn record(node: &mut Node, number: u64, kill: bool) -> (Street, Vec<Call<Op>>) {
    let seed = torture::seed().wrapping_add(number);
    let street = Street::new(node, format!("h{number}"), seed);
    let history = street.live(node, kill);
    (street, history)
}

/// The verdict on each independent part.
fn verdicts(street: &Street, history: &[Call<Op>]) -> Vec<Verdict> {
    let shop = Shop::new(SKUS, street.baskets(), history);
    let parts = shop.parts(history);
    parts.iter().map(|part| check(&shop, part, BOUND)).collect()
}

#[track_caller]
fn judge(street: &Street, history: &[Call<Op>], number: u64) {
    for verdict in verdicts(street, history) {
        if verdict != Verdict::Linearizable {
            let mut told: Vec<_> = history.iter().collect();
            told.sort_by_key(|call| call.invoked);
            for call in told {
                println!("{:>5} {:>5?} {:?}", call.invoked, call.returned, call.op);
            }
            panic!("history {number} of seed {} has no order: {verdict:#?}", torture::seed());
        }
    }
}

/// A lie in a history that was true, told after all else was over, so that no order can excuse it.
fn refuses(street: &Street, history: &[Call<Op>], what: &str, lie: Op) {
    let mut history = history.to_vec();
    let (invoked, returned) = (street.tick(), Some(street.tick()));
    history.push(Call {
        op: lie,
        invoked,
        returned,
    });
    let verdicts = verdicts(street, &history);
    assert!(
        verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused { .. })),
        "{what}: {verdicts:?}"
    );
}

fn last_page(history: &[Call<Op>], sku: usize) -> Page {
    let pages = history.iter().rev().filter_map(|call| match call.op {
        Op::Look { sku: of, answer } if of == sku => Some(answer),
        _ => None,
    });
    pages.into_iter().next().expect("every SKU was looked at last")
}

#[test]
fn a_history_with_a_planted_oversell_stale_read_lost_event_or_doubled_one_is_refused() {
    let mut node = Node::start();
    for number in 0..4 {
        let (street, history) = record(&mut node, 1_000_000 + number, number % 2 == 1);
        judge(&street, &history, number);
        let page = last_page(&history, 0);
        let look = |answer| Op::Look { sku: 0, answer };
        let gone = Page {
            demand: page.demand - 1,
            discrepancy: page.discrepancy + 1,
            ..page
        };
        refuses(&street, &history, "a lost sale", look(gone));
        let unheard = Page {
            sellable: page.sellable + 1,
            available: page.available + 1,
            discrepancy: page.discrepancy - 1,
            ..page
        };
        refuses(&street, &history, "units from nowhere", look(unheard));
        let applied = |call: &&Call<Op>| {
            matches!(
                call.op,
                Op::Tell {
                    answer: Some(Told::Applied { .. }),
                    ..
                }
            )
        };
        let again = history.iter().find(applied).expect("the shop was opened").op.clone();
        refuses(&street, &history, "an event with two effects", again);
        lies_about_the_past(&street, &history);
    }
}

/// One of its own answers, changed where it stands.
fn lies_about_the_past(street: &Street, history: &[Call<Op>]) {
    let mut planted = [0; 3];
    for (at, call) in history.iter().enumerate() {
        let (lie, which) = match &call.op {
            // As if nobody had sold since: what was read when the shop opened.
            Op::Look { sku, answer } => {
                let earlier = history.iter().find(|other| {
                    let Op::Look { sku: of, answer: then } = &other.op else { return false };
                    let between = |sold: &Call<Op>| {
                        let certain = matches!(&sold.op, Op::Tell { kind: Kind::Sale, sku: of, answer: Some(Told::Applied { .. }), .. } if of == sku);
                        certain && Some(sold.invoked) > other.returned && sold.returned < Some(call.invoked)
                    };
                    // Demand only grows, so an earlier figure of it cannot be true again.
                    of == sku && then.demand < answer.demand && history.iter().any(between)
                });
                let Some(Op::Look { answer: stale, .. }) = earlier.map(|call| call.op.clone()) else {
                    continue;
                };
                (
                    Op::Look {
                        sku: *sku,
                        answer: stale,
                    },
                    0,
                )
            }
            // The second basket gets what the first one has.
            Op::Hold {
                basket,
                answer: Some(Held::Refused(_)),
            } => {
                let lie = Op::Hold {
                    basket: *basket,
                    answer: Some(Held::Created),
                };
                (lie, 1)
            }
            // A refusal that was no refusal.
            Op::Tell {
                id,
                kind: Kind::Loss,
                sku,
                quantity,
                answer: Some(Told::Refused),
            } => {
                let answer = Some(Told::Applied { found: 0 });
                (
                    Op::Tell {
                        id: *id,
                        kind: Kind::Loss,
                        sku: *sku,
                        quantity: *quantity,
                        answer,
                    },
                    2,
                )
            }
            _ => continue,
        };
        let mut history = history.to_vec();
        history[at].op = lie;
        let refused = verdicts(street, &history)
            .iter()
            .any(|verdict| matches!(verdict, Verdict::Refused { .. }));
        assert!(refused, "{:?} was taken for true, in place of {:?}", history[at].op, call.op);
        planted[which] += 1;
    }
    let [stale, oversold, false_refusals] = planted;
    println!("refused: {stale} stale reads, {oversold} oversells, {false_refusals} false refusals");
    assert!(
        stale > 0 && oversold + false_refusals > 0,
        "nothing was there to lie about: {planted:?}"
    );
}

/// Lines of a long basket: it takes the journal's thread a while to fold them.
const LONG: usize = 400;

#[test]
fn a_basket_is_seen_whole_or_not_at_all_by_whoever_reads_one_sku_after_the_other() {
    const BASKETS: i64 = 30;
    let mut node = Node::start();
    let skus: Vec<String> = (0..LONG).map(|n| format!("s{n}")).collect();
    let open = |sku: &String| event(&format!("open-{sku}"), "receipt", sku, 1_000);
    node.post("/v1/events", &json!(skus.iter().map(open).collect::<Vec<_>>()))
        .expect_status(200);
    let basket = |n: i64| format!("/v1/warehouses/main/reservations/b{n}");
    let lines: Vec<_> = skus.iter().map(|sku| json!({"sku": sku, "quantity": 1})).collect();
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let look = |first: usize, second: usize| {
            let (http, done, skus) = (node.client(), &done, &skus);
            move || {
                let claimed = |sku: usize| {
                    let page = http
                        .get(&format!("/v1/warehouses/main/skus/{}", skus[sku]))
                        .expect_status(200)
                        .json();
                    page["claimed"].as_i64().expect("units")
                };
                let mut looks = 0;
                while !done.load(Ordering::Relaxed) {
                    let (before, after) = (claimed(first), claimed(second));
                    assert!(
                        after >= before,
                        "{before} baskets were there, and after that {after}: one was torn"
                    );
                    looks += 1;
                }
                looks
            }
        };
        let (http, skus, done_yet) = (node.client(), &skus, &done);
        let watch_basket = move || {
            for n in 0..BASKETS {
                let there = || http.get(&basket(n)).status == 200;
                while !there() && !done_yet.load(Ordering::Relaxed) {}
                let page = http
                    .get(&format!("/v1/warehouses/main/skus/{}", skus[LONG - 1]))
                    .expect_status(200)
                    .json();
                assert!(
                    page["claimed"].as_i64() > Some(n) || !there(),
                    "basket {n} is held without its last line: {page}"
                );
            }
            0
        };
        let readers = [
            scope.spawn(look(0, LONG - 1)),
            scope.spawn(look(LONG - 1, 0)),
            scope.spawn(watch_basket),
        ];
        for n in 0..BASKETS {
            node.put(&basket(n), &json!({"lines": lines})).expect_status(201);
        }
        done.store(true, Ordering::Relaxed);
        readers
            .map(|reader| reader.join().expect("no basket was torn"))
            .iter()
            .sum::<i32>()
    });
    println!("{BASKETS} baskets, {looks} looks");
    assert!(node.terminate().success(), "{}", node.log());
}
