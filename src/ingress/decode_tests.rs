//! What a sender may write, and what each mistake is answered with.

use super::*;
use crate::domain::units::Time;
use crate::ingress::rows::{Decoded, Format, decode};

fn warehouses() -> BTreeMap<Id, Arc<Warehouse>> {
    let id = Id::new("msk-07").unwrap();
    let warehouse = Warehouse {
        id: id.clone(),
        name: "Moscow 7".into(),
        time_zone: "Europe/Moscow".into(),
        channels: BTreeMap::new(),
    };
    BTreeMap::from([(id, Arc::new(warehouse))])
}

fn row(text: &str) -> Result<Event, Rejected> {
    Decoder::new(&warehouses(), None).row(text)
}

fn event(kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"e-1","source":"wms/7","type":"inventory.{kind}","time":"2026-11-22T09:14:03+03:00","data":{{"warehouse":"msk-07","sku":"A",{data}}}}}"#
    )
}

#[track_caller]
fn refused(text: &str, code: Code, field: &str) -> String {
    let refusal = row(text).expect_err("must be refused").refusal;
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (code, Some(field)),
        "{}",
        refusal.detail
    );
    refusal.detail
}

fn many(body: &[u8], format: Format) -> Result<Vec<Result<Event, Rejected>>, Refusal> {
    match decode(body, format, 10_000, &mut Decoder::new(&warehouses(), None))? {
        Decoded::Many(rows) => Ok(rows.into_iter().collect()),
        Decoded::One(event) => Ok(vec![*event]),
    }
}

const EXAMPLE: &str = r#"{"specversion": "1.0", "id": "wms-7-000123", "source": "wms/msk-07", "type": "inventory.receipt",
 "time": "2026-11-22T09:14:03+03:00", "subject": "msk-07/4607004892110", "traceparent": "00-a-b-01", "actor": "ivanov",
 "data": {"warehouse": "msk-07", "sku": "4607004892110", "quantity": 24, "unit": "each",
          "lot": {"id": "L2291", "expires_on": "2026-12-01"}, "reason": null, "document": "ASN-5512"}}"#;

#[test]
fn the_example_of_the_contract_is_read_whole() {
    let event = row(EXAMPLE).unwrap();
    assert_eq!(event.what, What::Receipt { quantity: 24 });
    assert_eq!(event.time, Some(Time(1_795_328_043_000)));
    assert_eq!(event.origin.source.as_str(), "wms/msk-07");
    assert_eq!(event.origin.actor.as_deref(), Some("ivanov"));
    assert_eq!(event.origin.trace, Some("00-a-b-01".into()));
    assert_eq!(
        event.origin.extensions.as_deref(),
        Some(r#"{"subject":"msk-07/4607004892110"}"#)
    );
    assert_eq!(event.origin.document.as_deref(), Some("ASN-5512"));
    assert_eq!(event.lot.unwrap().expires_on.map(|day| day.0), Some(20_788));
}

#[test]
fn every_type_is_read() {
    for (kind, data) in [
        ("receipt", r#""quantity":1"#),
        ("sale", r#""quantity":1,"reservation":"o-1""#),
        ("return", r#""quantity":1,"to":"quarantine""#),
        ("quarantine", r#""quantity":1"#),
        ("release", r#""quantity":1"#),
        ("write_off", r#""quantity":1,"reason":"expired","from":"in_transit""#),
        ("transfer_out", r#""quantity":1,"transfer":"t","to_warehouse":"spb-01""#),
        ("transfer_in", r#""quantity":1,"transfer":"t""#),
        ("adjustment", r#""delta":-1,"reason":"found""#),
        ("count", r#""quantity":0,"lot":{"id":""}"#),
        ("snapshot", r#""quantity":0,"stream":"s","stream_seq":7"#),
        ("void", r#""event":"e-0""#),
    ] {
        let event = row(&event(kind, data)).unwrap();
        assert_eq!(event.what.word(), kind);
    }
}

#[test]
fn a_wrong_figure_is_named_by_pointer() {
    for figure in [
        "1.5",
        "1.0",
        "1e3",
        "9223372036854775808",
        "18446744073709551616",
        "-1",
        "0",
        "1000000000001",
        "\"5\"",
        "true",
        "null",
        "[]",
        "{}",
    ] {
        refused(
            &event("sale", &format!("\"quantity\":{figure}")),
            Code::InvalidValue,
            "/data/quantity",
        );
    }
    refused(&event("sale", r#""unit":"each""#), Code::InvalidValue, "/data/quantity");
    refused(
        &event("adjustment", r#""delta":0,"reason":"r""#),
        Code::InvalidValue,
        "/data/delta",
    );
    refused(&event("adjustment", r#""delta":1"#), Code::InvalidValue, "/data/reason");
    refused(
        &event("write_off", r#""quantity":1,"reason":"""#),
        Code::InvalidValue,
        "/data/reason",
    );
    refused(&event("count", r#""quantity":-1"#), Code::InvalidValue, "/data/quantity");
}

#[test]
fn unknown_and_repeated_fields_are_named() {
    let detail = refused(&event("sale", r#""quantty":1"#), Code::UnknownField, "/data/quantty");
    assert!(detail.contains("did you mean 'quantity'"), "{detail}");
    refused(
        &event("sale", r#""quantity":1,"quantity":1"#),
        Code::InvalidValue,
        "/data/quantity",
    );
    refused(
        &event("sale", r#""quantity":1,"a/b~c":1"#),
        Code::UnknownField,
        "/data/a~1b~0c",
    );
    refused(
        &event("receipt", r#""quantity":1,"reservation":"o""#),
        Code::UnknownField,
        "/data/reservation",
    );
    refused(
        &event("receipt", r#""quantity":1,"lot":{"id":"L","expires":"x"}"#),
        Code::UnknownField,
        "/data/lot/expires",
    );
    refused(
        &EXAMPLE.replacen("\"id\"", "\"id\":\"x\",\"id\"", 1),
        Code::InvalidValue,
        "/id",
    );
    refused(
        &EXAMPLE.replacen("\"subject\"", "\"subject\":\"x\",\"subject\"", 1),
        Code::InvalidValue,
        "/subject",
    );
}

#[test]
fn ids_zones_dates_and_types_are_checked() {
    refused(&EXAMPLE.replace("wms-7-000123", ""), Code::InvalidValue, "/id");
    refused(&EXAMPLE.replace("wms-7-000123", &"x".repeat(129)), Code::InvalidValue, "/id");
    refused(
        &EXAMPLE.replace("4607004892110\", \"quantity", "a/b\", \"quantity"),
        Code::InvalidValue,
        "/data/sku",
    );
    refused(&EXAMPLE.replace("wms-7-000123", "a\\nb"), Code::InvalidValue, "/id");
    for time in [
        "2026-11-22T09:14:03",
        "2026-02-30T09:14:03Z",
        "yesterday",
        "2026-11-22",
        "2026-11-22T25:00:00Z",
        "",
    ] {
        refused(
            &EXAMPLE.replace("2026-11-22T09:14:03+03:00", time),
            Code::InvalidValue,
            "/time",
        );
    }
    refused(
        &EXAMPLE.replace("2026-12-01", "2026-13-01"),
        Code::InvalidValue,
        "/data/lot/expires_on",
    );
    let detail = refused(
        &EXAMPLE.replace("inventory.receipt", "inventory.reciept"),
        Code::InvalidValue,
        "/type",
    );
    assert!(detail.contains("inventory.receipt"), "{detail}");
    refused(&EXAMPLE.replace("\"1.0\"", "\"0.3\""), Code::InvalidValue, "/specversion");
    let detail = refused(
        &EXAMPLE.replace("\"warehouse\": \"msk-07\"", "\"warehouse\": \"msk-7\""),
        Code::UnknownWarehouse,
        "/data/warehouse",
    );
    assert!(detail.contains("did you mean 'msk-07'"), "{detail}");
    refused(
        r#"{"specversion":"1.0","id":"1","source":"s","type":"inventory.sale"}"#,
        Code::InvalidValue,
        "/data",
    );
}

#[test]
fn the_same_content_has_the_same_fingerprint_however_it_is_written() {
    let first = row(EXAMPLE).unwrap().origin.fingerprint;
    let same = EXAMPLE
        .replace("2026-11-22T09:14:03+03:00", "2026-11-22T06:14:03Z")
        .replace("00-a-b-01", "00-c-d-01")
        .replace(r#", "reason": null"#, "")
        .replace("ASN", "\\u0041SN");
    assert_eq!(row(&same).unwrap().origin.fingerprint, first);
    for other in [
        EXAMPLE.replace(": 24", ": 25"),
        EXAMPLE.replace("ASN-5512", "ASN-5513"),
        EXAMPLE.replace("L2291", "L2292"),
        EXAMPLE.replace("receipt", "count"),
        EXAMPLE.replace("2026-11-22T09:14:03+03:00", "2026-11-22T09:14:04+03:00"),
    ] {
        assert_ne!(row(&other).unwrap().origin.fingerprint, first, "{other}");
    }
}

#[test]
fn a_rotten_row_costs_only_itself() {
    let good = event("sale", r#""quantity":1"#);
    let body = format!(
        "[{good}, {{bad}}, {good},nonsense,[1,2],\"x,y]\", {good} ,{}]",
        event("sale", r#""quantity":-1"#)
    );
    let rows = many(body.as_bytes(), Format::Json).unwrap();
    let judged: Vec<_> = rows
        .iter()
        .map(|row| row.as_ref().map_err(|r| r.refusal.code).err())
        .collect();
    let bad = Some(Code::MalformedRow);
    assert_eq!(judged, [None, bad, None, bad, bad, bad, None, Some(Code::InvalidValue)]);
    assert_eq!(rows[7].as_ref().unwrap_err().id.as_deref(), Some("e-1"));

    let mut body = format!("{good}\n\n{{bad}}\r\n{good}\n").into_bytes();
    body.extend_from_slice(b"\"\xff\"\n   \n");
    let rows = many(&body, Format::Ndjson).unwrap();
    assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn a_body_that_is_no_array_is_refused_whole() {
    let good = event("sale", r#""quantity":1"#);
    for body in [
        format!("[{good}"),
        format!("[{good}]]"),
        format!("[{good},{{]"),
        format!("[{good},\"x]"),
        String::new(),
    ] {
        assert_eq!(
            many(body.as_bytes(), Format::Json).unwrap_err().code,
            Code::MalformedJson,
            "{body}"
        );
    }
    assert!(many(b" [ ] ", Format::Json).unwrap().is_empty());
    assert_eq!(many(good.as_bytes(), Format::Batch).unwrap_err().code, Code::InvalidValue);
}

#[test]
fn a_batch_beyond_the_limit_is_refused_whole() {
    let body = format!("[{}]", vec!["1"; 10_001].join(","));
    assert_eq!(many(body.as_bytes(), Format::Json).unwrap_err().code, Code::BatchTooLarge);
    assert_eq!(
        many("1\n".repeat(10_001).as_bytes(), Format::Ndjson).unwrap_err().code,
        Code::BatchTooLarge
    );
    assert_eq!(many("1\n".repeat(10_000).as_bytes(), Format::Ndjson).unwrap().len(), 10_000);
}

#[test]
fn nesting_does_not_overflow_the_stack() {
    let deep = "[".repeat(200_000);
    assert!(many(deep.as_bytes(), Format::Json).is_err());
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for body in [
        format!("[{deep}]"),
        format!("{{\"data\":{deep}}}"),
        format!("{{\"ext\":{deep}}}"),
        format!("{{\"data\":{{\"x\":{deep}}}}}"),
    ] {
        if let Ok(rows) = many(body.as_bytes(), Format::Json) {
            assert!(rows.iter().all(Result::is_err));
        }
    }
}

/// Every file of JSONTestSuite: `n_` is refused as no JSON, `y_` is read as JSON and then judged.
#[test]
fn what_is_no_json_is_refused_and_what_is_json_is_judged() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/json/test_parsing");
    let Ok(files) = std::fs::read_dir(&folder) else {
        assert!(
            !folder.join("../..").exists(),
            "the suite is missing from a data folder that is there"
        );
        return;
    };
    for file in files.map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let body = std::fs::read(&file).unwrap();
        let whole = many(&body, Format::Json);
        let as_row = Decoder::new(&warehouses(), None).row(&String::from_utf8_lossy(&body));
        match name.as_bytes()[0] {
            b'n' => match whole {
                Ok(rows) => {
                    let broken = |r: &Result<Event, Rejected>| matches!(r, Err(r) if r.refusal.detail.contains("is not JSON"));
                    assert!(rows.iter().any(broken), "{name}");
                    assert!(rows.iter().all(Result::is_err), "{name}");
                }
                Err(refusal) => assert_eq!(refusal.code, Code::MalformedJson, "{name}"),
            },
            b'y' => {
                let refusals: Vec<_> = match whole {
                    Ok(rows) => rows.into_iter().map(|row| *row.unwrap_err().refusal).collect(),
                    Err(refusal) => vec![refusal],
                };
                assert!(
                    refusals
                        .iter()
                        .all(|r| r.code != Code::MalformedJson && !r.detail.contains("is not JSON")),
                    "{name}: {refusals:?}"
                );
                assert!(!as_row.unwrap_err().refusal.detail.contains("is not JSON"), "{name}");
            }
            _ => {}
        }
    }
}
