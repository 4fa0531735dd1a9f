//! `shelfd check --kafka` says what is wrong with the broker, and what to do.

use super::out;
use crate::harness::events::{event, noon_config};
use crate::harness::kafka::{Broker, Sent};
use crate::harness::node::{Ran, shelfd};

fn check(text: &str) -> Ran {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).expect("the configuration");
    let ran = shelfd()
        .args(["check", "--kafka", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("data"))
        .arg("--config")
        .arg(&file)
        .output()
        .expect("the binary runs");
    Ran {
        code: ran.status.code(),
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
    }
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stdout.contains(word), "{word}: {ran:#?}");
    }
}

fn with(address: &str, more: &str) -> String {
    format!("{}[kafka]\nbrokers = \"{address}\"\n{more}", noon_config())
}

#[test]
fn every_topic_right_and_format_is_tried() {
    let broker = Broker::shared();
    broker.topic("c.light", 2, &[]);
    broker.topic("c.rotten", 1, &[]);
    broker.topic("c.updated", 1, &[("max.message.bytes", "20000")]);
    broker.topic("c.availability", 1, &[]);
    broker.topic("c.letters", 1, &[]);
    broker.produce("c.light", [Sent::event(&event("1", "receipt", "milk", 1))]);
    broker.produce("c.rotten", [Sent::bytes("k", b"rotten")]);
    let ins = "[[kafka.in]]\ntopic = \"c.light\"\n";
    let fine = check(&with(&broker.address(), &format!("{ins}{}", out("c.updated", "updated"))));
    says(
        &fine,
        &[
            "its newest message can be taken",
            "topic c.updated: 1 partition(s), may be written",
            "a node would start",
        ],
    );
    assert_eq!(fine.code, Some(0));
    assert!(broker.read("c.updated").is_empty(), "a check leaves nothing behind");
    let more = [
        "[[kafka.in]]\ntopic = \"c.rotten\"\n",
        "[[kafka.in]]\ntopic = \"c.missing\"\n",
        &out("c.availability", "availability"),
        &out("c.letters", "dead_letters"),
    ]
    .concat();
    let ran = check(&with(&broker.address(), &more));
    assert_eq!(ran.code, Some(78));
    says(
        &ran,
        &[
            "would be a dead letter",
            "kafka-topics.sh --create --topic c.missing",
            "it is not compacted",
            "--topic c.letters --add-config max.message.bytes=22435160",
        ],
    );
}

#[test]
fn a_broker_that_cannot_be_used_is_told_with_the_reason() {
    let broker = Broker::shared();
    let nobody = check(&with("127.0.0.1:1", &out("c.x", "updated")));
    says(&nobody, &["Connection refused", "does the broker run"]);
    let wrong = broker.file("wrong-check");
    std::fs::write(&wrong, "not-the-password").expect("a file");
    let login = |file: &std::path::Path| {
        format!(
            "security = \"sasl_plaintext\"\nusername = \"shelfd\"\npassword_file = \"{}\"\n{}",
            file.display(),
            out("c.x", "updated")
        )
    };
    let ran = check(&with(&broker.sasl_address(), &login(&wrong)));
    says(&ran, &["uthentication", "kafka.password_file"]);
    assert!(!ran.stdout.contains("not-the-password"));
    let ran = check(&with(&broker.sasl_address(), &login(&broker.file("nowhere"))));
    says(&ran, &["cannot be read"]);
    let tls = format!("security = \"ssl\"\nca_file = \"{}\"\n", broker.file("ca.pem").display());
    let ran = check(&with(&broker.expired_address(), &format!("{tls}{}", out("c.x", "updated"))));
    says(&ran, &["certificate", "still valid"]);
    let none = check(&noon_config());
    says(&none, &["kafka.brokers is empty"]);
}

#[test]
fn rights_are_tried_and_named() {
    let broker = Broker::shared();
    broker.topic("acl.light", 1, &[]);
    broker.topic("acl.updated", 1, &[]);
    broker.produce("acl.light", [Sent::event(&event("1", "receipt", "milk", 1))]);
    let address = broker.address();
    for (topic, right) in [("acl.light", "--consumer"), ("acl.updated", "--producer")] {
        let mut args = vec!["tool", "AclCommand", "--bootstrap-server", &address, "--add"];
        args.extend(["--allow-principal", "User:somebody-else", right, "--topic", topic]);
        if right == "--consumer" {
            args.extend(["--group", "somebody-elses"]);
        }
        broker.script(&args);
    }
    let login = format!(
        "security = \"sasl_plaintext\"\nusername = \"shelfd\"\npassword_file = \"{}\"\n",
        broker.file("password").display()
    );
    let topics = format!("[[kafka.in]]\ntopic = \"acl.light\"\n{}", out("acl.updated", "updated"));
    let ran = check(&with(&broker.sasl_address(), &format!("{login}{topics}")));
    says(&ran, &["acl.light", "acl.updated", "right"]);
    assert_eq!(ran.code, Some(78));
}
