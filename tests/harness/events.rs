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
    let account = |name: &str| sku["accounts"][name].as_i64().unwrap_or_else(|| panic!("no account {name}: {sku}"));
    let outside = ["supply", "demand", "waste", "discrepancy"].map(account).iter().sum::<i64>();
    let inside = ["sellable", "quarantine", "in_transit"];
    assert_eq!(inside.map(account).iter().sum::<i64>() + outside, 0, "conservation: {sku}");
    for name in inside {
        let lots = sku["lots"].as_array().expect("lots").iter();
        let units = lots.map(|lot| lot[name].as_i64().expect("units")).collect::<Vec<_>>();
        assert!(account(name) >= 0 && units.iter().all(|units| *units >= 0), "no_negative: {sku}");
        assert_eq!(units.iter().sum::<i64>(), account(name), "lots and {name}: {sku}");
    }
    assert!(sku["owed"].as_i64().expect("owed") >= 0, "no_negative: {sku}");
}
