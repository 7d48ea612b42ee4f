//! Storage info: the drives and the shape of their sets, as clients of the library ask for it.

use http::Method;
use serde_json::{Value, json};

use store::SetReport;
use tidings_store as store;

use super::{Answer, Call, drives};

/// What the library calls a set of drives with erasure coding.
const BACKEND_ERASURE: u32 = 2;

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/storageinfo",
    run: |gateway, _request| {
        Box::pin(
            async move { Ok(Answer::Json(document(&(gateway.setup.reports)(), &gateway.setup.endpoint))) },
        )
    },
};

fn document(sets: &[SetReport], endpoint: &str) -> Value {
    let (online, offline) = drives::count(sets);
    let each = |of: fn(&SetReport) -> usize| sets.iter().map(of).collect::<Vec<usize>>();
    let parity = sets.first().map_or(0, |set| set.parity);
    json!({
        "Disks": drives::documents(sets),
        "Backend": {
            "Type": BACKEND_ERASURE,
            "GatewayOnline": false,
            "OnlineDisks": { (endpoint): online },
            "OfflineDisks": { (endpoint): offline },
            "StandardSCData": each(|set| set.data),
            "StandardSCParities": each(|set| set.parity),
            "RRSCData": each(|set| set.data),
            "RRSCParities": each(|set| set.parity),
            "TotalSets": each(|_| 1),
            "DrivesPerSet": each(|set| set.drives.len()),
            "StandardSCParity": parity,
            "RRSCParity": parity,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{document, drives};

    #[test]
    fn the_shape_of_every_set_is_told() {
        let document = document(&drives::samples(), "127.0.0.1:9000");
        assert_eq!(document["Disks"].as_array().unwrap().len(), 10);
        assert_eq!(document["Backend"]["OnlineDisks"], json!({ "127.0.0.1:9000": 8 }));
        assert_eq!(document["Backend"]["TotalSets"], json!([1, 1]));
        assert_eq!(document["Backend"]["StandardSCData"], json!([4, 2]));
        assert_eq!(document["Backend"]["StandardSCParities"], json!([4, 0]));
        assert_eq!(document["Backend"]["DrivesPerSet"], json!([8, 2]));
    }
}
