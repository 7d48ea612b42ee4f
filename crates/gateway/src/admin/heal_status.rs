//! `mc admin heal ALIAS`: the sets, their drives, which of them are being healed and how far that is.

use http::Method;
use serde_json::{Value, json};

use store::SetReport;
use tidings_store as store;

use super::{Answer, Call, drives};

pub(super) const CALL: Call = Call {
    method: Method::POST,
    path: "/background-heal/status",
    run: |gateway, _request| {
        Box::pin(
            async move { Ok(Answer::Json(document(&(gateway.setup.reports)(), &gateway.setup.endpoint))) },
        )
    },
};

fn document(sets: &[SetReport], endpoint: &str) -> Value {
    let documents = sets.iter().enumerate().map(|(pool, set)| {
        json!({
            "id": format!("{pool}-0"),
            "pool_index": pool,
            "set_index": 0,
            "heal_status": "",
            "heal_priority": "",
            "total_objects": set.heal.objects,
            "disks": drives::of_set(pool, set),
        })
    });
    let sum = |of: fn(&SetReport) -> u64| -> u64 { sets.iter().map(of).sum() };
    let healing: Vec<&String> = sets.iter().flat_map(|set| &set.heal.healing).collect();
    let parity = sets.first().map_or(0, |set| set.parity);
    json!({
        "offline_nodes": null,
        "ScannedItemsCount": sum(|set| set.heal.objects_seen),
        "HealDisks": if healing.is_empty() { Value::Null } else { json!(healing) },
        "sets": documents.collect::<Vec<_>>(),
        // What reads and the scrub found broken and was repaired at once.
        "mrf": { (endpoint): {
            "bytes_healed": sum(|set| set.heal.bytes_healed),
            "items_healed": sum(|set| set.heal.damages_repaired),
        } },
        "sc_parity": { "STANDARD": parity, "REDUCED_REDUNDANCY": parity },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{document, drives};

    #[test]
    fn every_set_is_told_as_a_pool_with_its_drives_and_the_parity_of_the_first() {
        let document = document(&drives::samples(), "h:9000");
        assert_eq!(document["sets"][0]["disks"][7]["state"], json!("offline"));
        assert_eq!(document["sets"][1]["id"], json!("1-0"));
        assert_eq!(document["sets"][1]["disks"][1]["pool_index"], json!(1));
        assert_eq!(document["sc_parity"]["STANDARD"], json!(4));
        assert_eq!(document["HealDisks"], json!(null));
    }

    #[test]
    fn what_is_being_healed_and_what_was_is_told_as_mc_reads_it() {
        let mut document = document(&[drives::healing_sample()], "h:9000");
        let disks = document["sets"][0].as_object_mut().unwrap().remove("disks").unwrap();
        assert_eq!(disks[7]["heal_info"]["items_healed"], json!(30));
        assert_eq!(
            document.to_string(),
            concat!(
                r#"{"offline_nodes":null,"ScannedItemsCount":130,"HealDisks":["/data/d8"],"#,
                r#""sets":[{"id":"0-0","pool_index":0,"set_index":0,"heal_status":"","heal_priority":"","#,
                r#""total_objects":40}],"mrf":{"h:9000":{"bytes_healed":6500,"items_healed":3}},"#,
                r#""sc_parity":{"STANDARD":4,"REDUCED_REDUNDANCY":4}}"#
            )
        );
    }
}
