//! `mc admin heal ALIAS`: the drives of the set and their state. Nothing is healing: this build cannot heal.

use http::Method;
use serde_json::{Value, json};

use store::SetReport;
use tidings_store as store;

use super::{Answer, Call, drives};

pub(super) const CALL: Call = Call {
    method: Method::POST,
    path: "/background-heal/status",
    run: |gateway, _request| Box::pin(async move { Ok(Answer::Json(document(&(gateway.setup.report)()))) }),
};

fn document(report: &SetReport) -> Value {
    json!({
        "offline_nodes": null,
        "ScannedItemsCount": 0,
        "HealDisks": null,
        "sets": [{
            "id": "0-0",
            "pool_index": 0,
            "set_index": 0,
            "heal_status": "",
            "heal_priority": "",
            "total_objects": 0,
            "disks": drives::documents(report),
        }],
        "sc_parity": { "STANDARD": report.parity, "REDUCED_REDUNDANCY": report.parity },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{document, drives};

    #[test]
    fn the_one_set_is_told_with_its_drives_and_its_parity() {
        let document = document(&drives::sample());
        assert_eq!(document["sets"][0]["disks"][7]["state"], json!("offline"));
        assert_eq!(document["sc_parity"]["STANDARD"], json!(4));
    }
}
