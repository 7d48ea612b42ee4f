//! Uploads in parts.

use std::fmt::Write as _;

use crate::testing::{Answer, Server};

const PART_BYTES: usize = 5 * 1024 * 1024;

struct Upload<'s> {
    server: &'s Server,
    target: String,
}

impl Upload<'_> {
    async fn part(&self, number: u32, body: &[u8]) -> String {
        let target = format!("{}&partNumber={number}", self.target);
        self.server.put(&target).body(body).send().await.expect(200).header("etag").to_owned()
    }

    async fn complete(&self, parts: &[(u32, &str)]) -> Answer {
        self.server.post(&self.target).body(document(parts)).send().await
    }
}

fn document(parts: &[(u32, &str)]) -> String {
    let mut document = "<CompleteMultipartUpload>".to_owned();
    for (number, tag) in parts {
        write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>").unwrap();
    }
    document + "</CompleteMultipartUpload>"
}

async fn upload(server: &Server) -> Upload<'_> {
    let create = server.post("/album/large?uploads").header("content-type", "text/csv");
    let id = create.header("x-amz-meta-color", "red").send().await.expect(200).element("UploadId");
    Upload { server, target: format!("/album/large?uploadId={id}") }
}

#[tokio::test]
async fn parts_become_one_object_whose_tag_counts_them_and_completing_again_says_the_same() {
    let server = Server::with_album().await;
    let upload = upload(&server).await;
    let tags = [upload.part(1, &vec![b'A'; PART_BYTES]).await, upload.part(3, b"hello tidings").await];
    let parts = [(1, tags[0].as_str()), (3, tags[1].as_str())];
    assert_eq!(server.get("/album/large").send().await.error().0, 404);
    assert_eq!(server.get(&upload.target).send().await.expect(200).elements("PartNumber"), ["1", "3"]);
    assert_eq!(server.get("/album?uploads").send().await.expect(200).elements("Key"), ["large"]);

    let done = upload.complete(&parts).await.expect(200);
    assert!(done.element("ETag").ends_with("-2\""), "{}", done.text());
    assert_eq!(done.element("Location"), "http://s3.tidings.test:9000/album/large");
    let again = upload.complete(&parts).await.expect(200);
    assert_eq!(again.body, done.body);
    let other = upload.complete(&parts[..1]).await;
    assert_eq!(other.error(), (404, "NoSuchUpload".to_owned()));

    let get = server.get("/album/large").send().await.expect(200);
    assert_eq!((get.body.len(), get.header("x-amz-meta-color")), (PART_BYTES + 13, "red"));
    let part = server.get("/album/large?partNumber=2").send().await.expect(206);
    assert_eq!((part.text().as_str(), part.header("x-amz-mp-parts-count")), ("hello tidings", "2"));
    assert_eq!(
        server.get("/album/large?partNumber=3").send().await.error(),
        (416, "InvalidPartNumber".to_owned())
    );
    assert_eq!(server.changes().await[1..], ["CompleteMultipartUpload album/large"]);
    let told = server.told().await;
    assert_eq!(told[1].origin.as_ref().unwrap().response_length, Some(done.body.len() as u64));
}

#[tokio::test]
async fn parts_too_small_out_of_order_doubled_missing_or_other_are_refused_and_the_upload_stays() {
    let server = Server::with_album().await;
    let upload = upload(&server).await;
    let (small, last) = (upload.part(1, b"small").await, upload.part(2, b"last").await);
    let (small, last) = (small.as_str(), last.as_str());
    for (parts, code) in [
        (vec![(1, small), (2, last)], "EntityTooSmall"),
        (vec![(2, last), (1, small)], "InvalidPartOrder"),
        (vec![(1, small), (1, small)], "InvalidPartOrder"),
        (vec![(1, small), (7, last)], "InvalidPart"),
        (vec![(1, last)], "InvalidPart"),
        (vec![], "MalformedXML"),
    ] {
        assert_eq!(upload.complete(&parts).await.error(), (400, code.to_owned()));
    }
    assert_eq!(server.changes().await, ["BucketCreated album/"]);
    upload.complete(&[(2, last)]).await.expect(200);
    assert_eq!(server.get("/album/large").send().await.body, "last");
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_parts() {
    let server = Server::with_album().await;
    let upload = upload(&server).await;
    upload.part(1, &vec![b'A'; PART_BYTES]).await;
    server.delete(&upload.target).send().await.expect(204);
    assert_eq!(server.delete(&upload.target).send().await.error(), (404, "NoSuchUpload".to_owned()));
    let target = format!("{}&partNumber=1", upload.target);
    assert_eq!(server.put(&target).body("x").send().await.error(), (404, "NoSuchUpload".to_owned()));
    assert_eq!(server.engine.body_count(), 0);
}

#[tokio::test]
async fn part_numbers_are_from_one_to_ten_thousand() {
    let server = Server::with_album().await;
    let upload = upload(&server).await;
    for number in ["0", "10001", "x", ""] {
        let target = format!("{}&partNumber={number}", upload.target);
        assert_eq!(server.put(&target).body("x").send().await.error(), (400, "InvalidArgument".to_owned()));
    }
    assert_eq!(
        server.put(&upload.target).body("x").send().await.error(),
        (400, "InvalidArgument".to_owned())
    );
}

#[tokio::test]
async fn a_part_is_copied_from_a_range_of_an_object() {
    let server = Server::with_album().await;
    server.put("/album/digits").body("0123456789").send().await.expect(200);
    let upload = upload(&server).await;
    let copy = |range: &str| {
        let call = server.put(&format!("{}&partNumber=1", upload.target));
        call.header("x-amz-copy-source", "/album/digits").header("x-amz-copy-source-range", range).send()
    };
    for range in ["bytes=5-", "bytes=-3", "bytes=4-2", "0-4"] {
        assert_eq!(copy(range).await.error(), (400, "InvalidArgument".to_owned()), "{range}");
    }
    assert_eq!(copy("bytes=5-10").await.error(), (416, "InvalidRange".to_owned()));
    let tag = copy("bytes=2-5").await.expect(200).element("ETag");
    upload.complete(&[(1, &tag)]).await.expect(200);
    assert_eq!(server.get("/album/large").send().await.body, "2345");
}

#[tokio::test]
async fn checksums_of_parts_compose_or_combine_to_that_of_the_object() {
    let server = Server::with_album().await;
    for (kind, expected) in [("COMPOSITE", "RrVUcQ==-2"), ("FULL_OBJECT", "LcPn7w==")] {
        let create = server.post("/album/summed?uploads").header("x-amz-checksum-algorithm", "CRC32");
        let created = create.header("x-amz-checksum-type", kind).send().await.expect(200);
        let target = format!("/album/summed?uploadId={}", created.element("UploadId"));
        let mut document = "<CompleteMultipartUpload>".to_owned();
        for (number, body) in [(1, vec![b'A'; PART_BYTES]), (2, b"hello tidings".to_vec())] {
            let put =
                server.put(&format!("{target}&partNumber={number}")).body(body).send().await.expect(200);
            let (tag, sum) = (put.header("etag"), put.header("x-amz-checksum-crc32"));
            write!(
                document,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><ChecksumCRC32>{sum}</ChecksumCRC32></Part>"
            )
            .unwrap();
        }
        document += "</CompleteMultipartUpload>";
        let wrong =
            server.post(&target).header("x-amz-checksum-crc32", "AAAAAA==").body(&document).send().await;
        assert_eq!(wrong.error(), (400, "BadDigest".to_owned()));
        let done = server.post(&target).header("x-amz-checksum-crc32", expected).body(&document).send().await;
        assert_eq!(done.expect(200).element("ChecksumCRC32"), expected);
        let head =
            server.head("/album/summed").header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
        assert_eq!(
            (head.header("x-amz-checksum-crc32"), head.header("x-amz-checksum-type")),
            (expected, kind)
        );
    }
}
