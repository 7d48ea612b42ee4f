//! Large bodies stream: memory does not grow with the object.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::{Body, Method};

use crate::support::server::Server;

/// Memory that an upload and a download may add at their worst, in bytes.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

/// A body of `blocks` MiB in which every block differs.
fn body(blocks: u64) -> Body {
    let block = |number: u64| Bytes::from(number.to_le_bytes().repeat((1 << 20) / 8));
    Body::wrap_stream(stream::iter(0..blocks).map(move |number| Ok::<_, std::io::Error>(block(number))))
}

async fn goes_in_and_out_without_growing_the_process(blocks: u64) {
    let server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    client.put("/album/warm", vec![1; 2 << 20]).await.expect_success("put");
    let before = server.resident_bytes();

    let length = (blocks << 20).to_string();
    let put = client
        .signed(Method::PUT, "/album/large", &[], "UNSIGNED-PAYLOAD")
        .header("content-length", &length)
        .body(body(blocks));
    let mut peak = before;
    let mut put = Box::pin(put.send());
    let answer = loop {
        tokio::select! {
            answer = &mut put => break answer.unwrap(),
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => peak = peak.max(server.resident_bytes()),
        }
    };
    assert_eq!(answer.status(), 200);

    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let get = client.signed(Method::GET, "/album/large", &[], empty).send().await.unwrap();
    assert_eq!(get.headers()["content-length"], length.as_str());
    let (mut stream, mut at) = (get.bytes_stream(), 0u64);
    while let Some(bytes) = stream.next().await {
        for byte in bytes.unwrap() {
            let block = at >> 20;
            assert_eq!(byte, block.to_le_bytes()[(at % 8) as usize], "byte {at}");
            at += 1;
        }
        peak = peak.max(server.resident_bytes());
    }

    assert_eq!(at, blocks << 20);
    let grown = peak.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "the process grew by {grown} bytes for an object of {length}");
}

#[tokio::test]
async fn an_object_of_256_mebibytes_goes_in_and_out_without_growing_the_process() {
    goes_in_and_out_without_growing_the_process(256).await;
}

mod long {
    #[tokio::test]
    async fn an_object_of_5_gibibytes_goes_in_and_out_without_growing_the_process() {
        super::goes_in_and_out_without_growing_the_process(5 * 1024).await;
    }
}
