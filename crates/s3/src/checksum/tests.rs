//! Tests against published values, and of joining parts.

use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{Checksum, ChecksumAlgorithm, ChecksumKind, Hasher, ObjectChecksum};
use crate::error::ErrorCode;

const CRCS: [ChecksumAlgorithm; 3] =
    [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme];

fn of(algorithm: ChecksumAlgorithm, data: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.finish()
}

fn all(data: &[u8]) -> [String; 5] {
    ChecksumAlgorithm::ALL.map(|algorithm| of(algorithm, data).to_string())
}

fn part() -> Vec<u8> {
    vec![b'A'; 5 * 1024 * 1024]
}

#[test]
fn each_algorithm_agrees_with_the_published_values() {
    assert_eq!(
        all(b""),
        [
            "AAAAAA==",
            "AAAAAA==",
            "AAAAAAAAAAA=",
            "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        ]
    );
    assert_eq!(
        all(b"123456789"),
        [
            "y/Q5Jg==",
            "4waSgw==",
            "rosUhgp5mIg=",
            "98O8HYCOBHMq32eZZczDTKeuNEE=",
            "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="
        ]
    );
    assert_eq!(
        all(&part()),
        [
            "JRTCyQ==",
            "MDaLrw==",
            "L/E4WYn8v98=",
            "iIaTCGbm+vdVjNqIMF2S0T7ibMk=",
            "275VF5loJr1YYawit0XSHREhkFXYkkPKGuoK0x9VKxI="
        ]
    );
}

#[test]
fn two_parts_combine_to_the_checksum_of_the_whole() {
    let combined = CRCS.map(|algorithm| {
        let parts = [of(algorithm, &part()), of(algorithm, b"hello tidings")];
        Checksum::full_object(algorithm, [(&parts[0], 5 * 1024 * 1024), (&parts[1], 13)]).unwrap().to_string()
    });

    assert_eq!(combined, ["LcPn7w==", "D+5KRQ==", "jWjj9wCNt4Q="]);
    assert_eq!(Checksum::full_object(ChecksumAlgorithm::Sha1, []), None);
}

#[test]
fn two_parts_compose_to_the_checksum_of_their_checksums() {
    let composed = |algorithm| {
        let parts = [of(algorithm, &part()), of(algorithm, b"hello tidings")];
        let checksum = Checksum::composite(algorithm, &parts);
        ObjectChecksum { checksum, composite_parts: Some(2) }.to_string()
    };

    assert_eq!(composed(ChecksumAlgorithm::Crc32), "RrVUcQ==-2");
    assert_eq!(composed(ChecksumAlgorithm::Crc32c), "l+5tWQ==-2");
    assert_eq!(composed(ChecksumAlgorithm::Sha1), "AsxVjeTYlpAcEkzglyAmlGi+aQ0=-2");
    assert_eq!(composed(ChecksumAlgorithm::Sha256), "40wJvkgOPeigOBMKbAquj0suc3FcNNAopV8vD2Gub14=-2");
}

#[test]
fn an_object_checksum_is_read_back_with_its_parts() {
    for text in ["RrVUcQ==-2", "LcPn7w=="] {
        let checksum = ObjectChecksum::parse(ChecksumAlgorithm::Crc32, text).unwrap();
        assert_eq!(checksum.to_string(), text);
    }
    assert_eq!(ObjectChecksum::parse(ChecksumAlgorithm::Crc32, "RrVUcQ==-x"), None);
}

#[test]
fn the_kinds_an_algorithm_allows_are_those_of_s3() {
    assert!(!ChecksumAlgorithm::Crc64Nvme.allows(ChecksumKind::Composite));
    assert!(!ChecksumAlgorithm::Sha256.allows(ChecksumKind::FullObject));
    assert!(ChecksumAlgorithm::ALL.iter().all(|algorithm| algorithm.allows(algorithm.default_kind())));
}

fn sent(headers: &[(&str, &str)]) -> Result<Option<String>, ErrorCode> {
    let headers = headers.to_vec();
    let checksum = Checksum::from_headers(&headers).map_err(|refusal| refusal.code)?;
    Ok(checksum.map(|checksum| checksum.to_string()))
}

#[test]
fn a_request_sends_one_well_formed_checksum_or_none() {
    assert_eq!(sent(&[("x-amz-checksum-mode", "ENABLED"), ("x-amz-checksum-algorithm", "CRC32")]), Ok(None));
    assert_eq!(sent(&[("x-amz-checksum-crc32", " y/Q5Jg== ")]), Ok(Some("y/Q5Jg==".to_owned())));
    assert_eq!(sent(&[("x-amz-checksum-crc32", "bad")]), Err(ErrorCode::BadDigest));
    assert_eq!(sent(&[("x-amz-checksum-sha1", "y/Q5Jg==")]), Err(ErrorCode::BadDigest));
    assert_eq!(sent(&[("x-amz-checksum-sha512", "x")]), Err(ErrorCode::NotImplemented));
    let two = [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")];
    assert_eq!(sent(&two), Err(ErrorCode::InvalidRequest));
}

proptest! {
    /// Wherever data is cut into parts, their CRCs combine to that of the data.
    #[test]
    fn combining_crcs_is_the_crc_of_the_concatenation(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
    ) {
        for algorithm in CRCS {
            let checksums: Vec<_> = parts.iter().map(|part| (of(algorithm, part), part.len() as u64)).collect();
            let combined = Checksum::full_object(algorithm, checksums.iter().map(|(part, size)| (part, *size)));
            prop_assert_eq!(combined, Some(of(algorithm, &parts.concat())));
        }
    }
}
