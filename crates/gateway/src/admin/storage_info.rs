//! Storage info: the drives and the shape of their set, as clients of the library ask for it.

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
            async move { Ok(Answer::Json(document(&(gateway.setup.report)(), &gateway.setup.endpoint))) },
        )
    },
};

fn document(report: &SetReport, endpoint: &str) -> Value {
    let (online, offline) = drives::count(report);
    json!({
        "Disks": drives::documents(report),
        "Backend": {
            "Type": BACKEND_ERASURE,
            "GatewayOnline": false,
            "OnlineDisks": { (endpoint): online },
            "OfflineDisks": { (endpoint): offline },
            "StandardSCData": [report.data],
            "StandardSCParities": [report.parity],
            "RRSCData": [report.data],
            "RRSCParities": [report.parity],
            "TotalSets": [1],
            "DrivesPerSet": [report.drives.len()],
            "StandardSCParity": report.parity,
            "RRSCParity": report.parity,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{document, drives};

    #[test]
    fn the_shape_of_the_set_is_told() {
        let document = document(&drives::sample(), "127.0.0.1:9000");
        assert_eq!(document["Disks"].as_array().unwrap().len(), 8);
        assert_eq!(document["Backend"]["OnlineDisks"], json!({ "127.0.0.1:9000": 7 }));
        assert_eq!(document["Backend"]["StandardSCData"], json!([4]));
        assert_eq!(document["Backend"]["DrivesPerSet"], json!([8]));
    }
}
