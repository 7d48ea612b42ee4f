//! `mc admin heal ALIAS`: the sets, their drives and their state. Nothing is healing: this build cannot heal.

use http::Method;
use serde_json::{Value, json};

use store::SetReport;
use tidings_store as store;

use super::{Answer, Call, drives};

pub(super) const CALL: Call = Call {
    method: Method::POST,
    path: "/background-heal/status",
    run: |gateway, _request| Box::pin(async move { Ok(Answer::Json(document(&(gateway.setup.reports)()))) }),
};

fn document(sets: &[SetReport]) -> Value {
    let documents = sets.iter().enumerate().map(|(pool, set)| {
        json!({
            "id": format!("{pool}-0"),
            "pool_index": pool,
            "set_index": 0,
            "heal_status": "",
            "heal_priority": "",
            "total_objects": 0,
            "disks": drives::of_set(pool, set),
        })
    });
    let parity = sets.first().map_or(0, |set| set.parity);
    json!({
        "offline_nodes": null,
        "ScannedItemsCount": 0,
        "HealDisks": null,
        "sets": documents.collect::<Vec<_>>(),
        "sc_parity": { "STANDARD": parity, "REDUCED_REDUNDANCY": parity },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{document, drives};

    #[test]
    fn every_set_is_told_as_a_pool_with_its_drives_and_the_parity_of_the_first() {
        let document = document(&drives::samples());
        assert_eq!(document["sets"][0]["disks"][7]["state"], json!("offline"));
        assert_eq!(document["sets"][1]["id"], json!("1-0"));
        assert_eq!(document["sets"][1]["disks"][1]["pool_index"], json!(1));
        assert_eq!(document["sc_parity"]["STANDARD"], json!(4));
    }
}
