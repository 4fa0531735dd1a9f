//! Events as a source would send them, and the invariants of a SKU's page, so that each test says only what it is about.

use serde_json::{Value, json};

/// The source of [`event`].
pub const SOURCE: &str = "wms/1";

/// An event of the warehouse `main`, without a time: `inventory.{kind}` with `quantity`, or `delta` for an adjustment.
pub fn event(id: &str, kind: &str, sku: &str, quantity: i64) -> Value {
    let amount = if kind == "adjustment" { "delta" } else { "quantity" };
    let mut data = json!({"warehouse": "main", "sku": sku, amount: quantity});
    if matches!(kind, "adjustment" | "write_off") {
        data["reason"] = json!("damaged");
    }
    json!({"specversion": "1.0", "id": id, "source": SOURCE, "type": format!("inventory.{kind}"), "data": data})
}

/// Panics unless the SKU's page holds what always holds: `conservation`, `no_negative` also lot by lot, and lots that sum up
/// to their accounts.
#[track_caller]
pub fn check_invariants(sku: &Value) {
    let account = |name: &str| {
        sku["accounts"][name]
            .as_i64()
            .unwrap_or_else(|| panic!("no account {name}: {sku}"))
    };
    let outside = ["supply", "demand", "waste", "discrepancy"].map(account).iter().sum::<i64>();
    let inside = ["sellable", "quarantine", "in_transit"];
    assert_eq!(inside.map(account).iter().sum::<i64>() + outside, 0, "conservation: {sku}");
    for name in inside {
        let lots = sku["lots"].as_array().expect("lots").iter();
        let units = lots.map(|lot| lot[name].as_i64().expect("units")).collect::<Vec<_>>();
        assert!(
            account(name) >= 0 && units.iter().all(|units| *units >= 0),
            "no_negative: {sku}"
        );
        assert_eq!(units.iter().sum::<i64>(), account(name), "lots and {name}: {sku}");
    }
    assert!(sku["owed"].as_i64().expect("owed") >= 0, "no_negative: {sku}");
}

/// A configuration in which `main` lies where it is now about noon, so that no midnight falls into a test. More may be added
/// to its end.
pub fn noon_config() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs();
    let ahead = 12 - i64::try_from(seconds / 3_600 % 24).expect("an hour of the day");
    // The names of these zones count westwards.
    let zone = format!("Etc/GMT{:+}", -ahead).replace("GMT+0", "GMT");
    format!("[[warehouse]]\nid = \"main\"\ntime_zone = \"{zone}\"\n")
}

/// The date there so many days from today.
pub fn noon_date(days: i64) -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs();
    let ahead = 12 - i64::try_from(seconds / 3_600 % 24).expect("an hour of the day");
    let there = jiff::Timestamp::from_second(i64::try_from(seconds).expect("seconds") + (ahead + 24 * days) * 3_600);
    there.expect("a time").strftime("%Y-%m-%d").to_string()
}
