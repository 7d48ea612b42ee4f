//! Tests against signatures that other implementations computed, and against what changes them.

use proptest::prelude::{prop, prop_assert_eq, proptest};

use super::{
    ChunkMode, Credential, EMPTY_SHA256, Payload, Request, RequestSigner, Rules, Signed, SigningKey,
    UNSIGNED_PAYLOAD,
};
use crate::error::ErrorCode;

/// 2026-01-15T12:00:00Z.
const NOW_S: i64 = 1_768_478_400;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const HOST: (&str, &str) = ("Host", "s3.tidings.test:9000");
const RULES: Rules<'_> = Rules { now_s: NOW_S, region: "", service: "s3" };

fn signer(session_token: Option<&'static str>) -> RequestSigner<'static> {
    RequestSigner {
        access_key: "TIDINGSEXAMPLEKEY01",
        secret_key: SECRET,
        session_token,
        region: "us-east-1",
        service: "s3",
    }
}

/// What happens to a request after it was signed.
type Change = fn(&mut Sent);

/// A request that owns what it is made of, so that tests can change it after signing.
#[derive(Clone)]
struct Sent {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

impl Sent {
    fn new(method: &'static str, target: &str, headers: &[(&str, &str)]) -> Sent {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sent { method, path: path.to_owned(), query: query.to_owned(), headers }
    }

    fn request(&self) -> Request<'_> {
        Request { method: self.method, path: &self.path, query: &self.query, headers: &self.headers }
    }

    fn signed(mut self, payload_hash: &str, session_token: Option<&'static str>) -> Sent {
        let added = signer(session_token).sign(&self.request(), payload_hash, NOW_S).unwrap().headers;
        self.headers.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case(name)).unwrap().1
    }

    fn signature(&mut self) -> String {
        self.header("authorization").rsplit_once("Signature=").unwrap().1.to_owned()
    }

    fn check_at(&self, rules: &Rules<'_>) -> Result<Signed, ErrorCode> {
        let request = self.request();
        let signed = match self.query.contains("X-Amz-Algorithm") {
            true => Signed::from_query(&request, rules),
            false => Signed::from_header(&request, rules),
        };
        let signed = signed.map_err(|refusal| refusal.code)?;
        let key = SigningKey::of(SECRET, &signed.credential);
        signed.verify(&request, &key).map_err(|refusal| refusal.code)?;
        Ok(signed)
    }

    fn check(&self) -> Result<(), ErrorCode> {
        self.check_at(&RULES).map(|_| ())
    }
}

fn get() -> Sent {
    Sent::new("GET", "/vec-bucket/k", &[HOST]).signed(EMPTY_SHA256, None)
}

fn presigned(
    method: &'static str,
    target: &str,
    expires_s: u32,
    session_token: Option<&'static str>,
) -> Sent {
    let mut sent = Sent::new(method, target, &[HOST]);
    sent.query = signer(session_token).presign(&sent.request(), expires_s, NOW_S).unwrap();
    sent
}

#[test]
fn signing_by_header_gives_the_published_signatures() {
    let body = "981263258597828ae5dc57ca83f41a1360dd2751dbd4f4454d8dfc949428d9c1";
    let v3 = [
        HOST,
        ("x-amz-meta-note", "  two   spaces  "),
        ("Content-Type", "text/plain"),
        ("x-amz-storage-class", "STANDARD"),
    ];
    let virtual_host = ("host", "vec-bucket.s3.tidings.test:9000");
    let escaped = "/vec-bucket/photos/Jan%202026/%C3%A4%2Bb~c%27%28%29%2A.jpg";
    let listing = "/vec-bucket?list-type=2&prefix=a%20b%2F%2B&delimiter=%2F&fetch-owner=true&start-after=";
    let vectors: [(&str, Sent, &str, &str); 8] = [
        (
            "V1",
            Sent::new("GET", "/", &[HOST]),
            EMPTY_SHA256,
            "2bcc2717f5d52f866a01e029ab8977aa679a9bbd2128da719697d40c4e14574f",
        ),
        (
            "V2",
            Sent::new("GET", escaped, &[HOST, ("Range", "bytes=0-9")]),
            EMPTY_SHA256,
            "92c848c395000989d563e2697b3a0bdc58dc6b33603f5dbf99b68ffaae9c00c4",
        ),
        (
            "V3",
            Sent::new("PUT", "/vec-bucket/a/b.txt", &v3),
            body,
            "dad8157f88fd486973eeb6cca8eb641a60db34cc0b7e97e8f820ecea99c8116f",
        ),
        (
            "V4",
            Sent::new("GET", listing, &[HOST]),
            EMPTY_SHA256,
            "d2efabe076d59b8f107156e0011f1592dd7c04a988b9df27aac0be93fc57ce69",
        ),
        (
            "V5",
            Sent::new("GET", "/vec-bucket?acl", &[HOST]),
            EMPTY_SHA256,
            "081d8274ed2c1471690dec8290f1ce961bf951d9b61acb22a4a76d90a6ca6af8",
        ),
        (
            "V6",
            Sent::new("GET", "/vec-bucket//a//./b/../c", &[HOST]),
            EMPTY_SHA256,
            "9bc382ca8fe492741136497197f75cde8dccb497fc648e152c327981577b46d7",
        ),
        (
            "V7",
            Sent::new("PUT", "/vec-bucket/u", &[HOST]),
            UNSIGNED_PAYLOAD,
            "f00bb5f60cdae686272d0403f68c9866ef71483f45f9ac90e7b897f8d29791a2",
        ),
        (
            "V22",
            Sent::new("GET", "/a/b.txt?partNumber=1", &[virtual_host]),
            EMPTY_SHA256,
            "347b7d81609a39c28df856f932041ff278933a073211d27309e82f4e9a09fb79",
        ),
    ];
    for (name, sent, payload_hash, signature) in vectors {
        let mut sent = sent.signed(payload_hash, None);
        assert_eq!(sent.signature(), signature, "{name}");
        assert_eq!(sent.check(), Ok(()), "{name}");
    }
}

#[test]
fn a_session_token_is_signed_and_told() {
    let mut sent =
        Sent::new("GET", "/vec-bucket/k", &[HOST]).signed(EMPTY_SHA256, Some("SESSION/TOKEN+EXAMPLE=="));

    assert_eq!(sent.signature(), "72cd0376600c3ccedea1ecf034ab4da60817acea5e41dfa3a1fe261e19806a45");
    let signed = sent.check_at(&RULES).unwrap();
    assert_eq!(signed.session_token.as_deref(), Some("SESSION/TOKEN+EXAMPLE=="));
}

#[test]
fn presigning_gives_the_published_signatures() {
    let download = "/vec-bucket/photos/Jan%202026/x.jpg\
                    ?response-content-disposition=attachment%3B%20filename%3D%22x.jpg%22";
    for (name, sent, signature) in [
        (
            "V9",
            presigned("GET", download, 86400, None),
            "b4bcb18131dd6803ed7e083472bf307ad8f8ace89dea73216fa981384963d9a0",
        ),
        (
            "V10",
            presigned("PUT", "/vec-bucket/up.bin", 604_800, Some("SESSION/TOKEN+EXAMPLE==")),
            "272fab17ed086bbd969c8804a2a50397b344d964cd6ee6fbe25d5b5772dca274",
        ),
        (
            "V11",
            presigned("GET", "/vec-bucket/k?versionId=null", 60, None),
            "e6fe6dd81fb84cb5f7c16800accbab38be8c06fb0f5ede50a972c2fd2dd4309c",
        ),
    ] {
        assert!(sent.query.ends_with(&format!("&X-Amz-Signature={signature}")), "{name}: {}", sent.query);
        assert_eq!(sent.check(), Ok(()), "{name}");
    }
}

#[test]
fn chunked_requests_have_the_published_seed_signatures() {
    for (mode, seed) in [
        (ChunkMode::Signed, "ff90f2e8164b0cda2bd10baf8124dea5b641c7c42896a826603118b52b432298"),
        (ChunkMode::SignedTrailer, "533e0071345bb8e8a6871887987a5ad73850e3bf6f78ce7b99d249e69f839b15"),
        (ChunkMode::UnsignedTrailer, "ee3364a2d3def6b60f4da1c42122362dbc6ca5f8311e6cbb8b9dc792d7b1c3cf"),
    ] {
        let mut headers =
            vec![HOST, ("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", "8196")];
        if mode.has_trailer() {
            headers.push(("x-amz-trailer", "x-amz-checksum-crc32"));
        }
        let mut sent = Sent::new("PUT", "/vec-bucket/st", &headers).signed(mode.keyword(), None);

        assert_eq!(sent.signature(), seed, "{mode:?}");
        assert_eq!(sent.check_at(&RULES).unwrap().payload, Payload::Chunked(mode));
    }
}

#[test]
fn any_change_of_what_was_signed_is_found() {
    let changes: [(&str, Change); 6] = [
        ("method", |sent| sent.method = "HEAD"),
        ("path", |sent| sent.path = "/vec-bucket/l".to_owned()),
        ("slash", |sent| sent.path.push('/')),
        ("query", |sent| sent.query = "foo=bar".to_owned()),
        ("host", |sent| sent.header("host").push('1')),
        ("hash", |sent| *sent.header("x-amz-content-sha256") = UNSIGNED_PAYLOAD.to_owned()),
    ];
    for (name, change) in changes {
        let mut sent = get();
        change(&mut sent);
        assert_eq!(sent.check(), Err(ErrorCode::SignatureDoesNotMatch), "{name}");
    }
    let mut sent = presigned("GET", "/vec-bucket/k", 60, None);
    sent.query.push_str("&foo=bar");
    assert_eq!(sent.check(), Err(ErrorCode::SignatureDoesNotMatch));
}

#[test]
fn a_mismatch_shows_the_callers_own_request_and_no_secret() {
    let mut sent = get();
    sent.path.push('x');
    let signed = Signed::from_header(&sent.request(), &RULES).unwrap();
    let key = SigningKey::of(SECRET, &signed.credential);

    let refusal = signed.verify(&sent.request(), &key).unwrap_err();

    let names: Vec<&str> = refusal.elements.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "CanonicalRequest"]);
    assert!(refusal.elements[3].1.starts_with("GET\n/vec-bucket/kx\n\nhost:"));
    assert_eq!(format!("{key:?}"), "SigningKey([redacted])");
}

#[test]
fn the_clock_may_be_fifteen_minutes_off_either_way() {
    let at = |now_s| get().check_at(&Rules { now_s, ..RULES }).map(|_| ());

    for off_s in [-900, -890, 0, 900] {
        assert_eq!(at(NOW_S + off_s), Ok(()), "{off_s}");
    }
    for off_s in [-901, 901] {
        assert_eq!(at(NOW_S + off_s), Err(ErrorCode::RequestTimeTooSkewed), "{off_s}");
    }
}

#[test]
fn region_and_service_must_be_ours_unless_any_region_is() {
    let sent = get();

    let refusal = Signed::from_header(&sent.request(), &Rules { region: "eu-north-1", ..RULES }).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::AuthorizationHeaderMalformed);
    assert_eq!(refusal.elements, [("Region", "eu-north-1".to_owned())]);
    assert!(sent.check_at(&Rules { region: "us-east-1", ..RULES }).is_ok());
    let other_service = sent.check_at(&Rules { service: "sts", ..RULES }).map(|_| ());
    assert_eq!(other_service, Err(ErrorCode::AuthorizationParametersError));
}

#[test]
fn a_scope_of_another_day_does_not_match() {
    let mut sent = get();
    let authorization = sent.header("authorization");
    *authorization = authorization.replace("/20260115/", "/20260114/");

    assert_eq!(sent.check(), Err(ErrorCode::SignatureDoesNotMatch));
}

#[test]
fn date_and_payload_hash_must_be_sent() {
    let without = |name: &str| {
        let mut sent = get();
        sent.headers.retain(|(field, _)| field != name);
        sent.check()
    };

    assert_eq!(without("x-amz-date"), Err(ErrorCode::AccessDenied));
    assert_eq!(without("x-amz-content-sha256"), Err(ErrorCode::InvalidRequest));
}

#[test]
fn an_amazon_header_added_after_signing_is_refused() {
    for mut sent in [get(), presigned("PUT", "/vec-bucket/k", 60, None)] {
        sent.headers.push(("content-type".to_owned(), "text/plain".to_owned()));
        assert_eq!(sent.check(), Ok(()));
        sent.headers.push(("X-Amz-Acl".to_owned(), "public-read".to_owned()));
        assert_eq!(sent.check(), Err(ErrorCode::AccessDenied));
    }
}

#[test]
fn a_plus_signed_raw_and_names_signed_in_the_order_sent_are_accepted() {
    // Such clients sign `+` in a path as it is, where S3's rules say %2B, and repeated names in the
    // order sent. The signer writes canonical forms only, so the forms are signed here by hand.
    let sent = Sent::new("GET", "/b/a+b?events=s3:b&events=s3:a", &[HOST]).signed(EMPTY_SHA256, None);
    let mut signed = Signed::from_header(&sent.request(), &RULES).unwrap();
    let key = SigningKey::of(SECRET, &signed.credential);
    for (path, query) in [
        ("/b/a%2Bb", "events=s3%3Aa&events=s3%3Ab"),
        ("/b/a%2Bb", "events=s3%3Ab&events=s3%3Aa"),
        ("/b/a+b", "events=s3%3Aa&events=s3%3Ab"),
        ("/b/a+b", "events=s3%3Ab&events=s3%3Aa"),
    ] {
        let headers = super::canonical::canonical_headers(&sent.headers, &signed.signed_headers).unwrap();
        let canonical =
            super::canonical::join("GET", path, query, &headers, &signed.signed_headers, EMPTY_SHA256);
        let string = super::string_to_sign(&signed.amz_date, &signed.credential, &canonical);
        signed.signature = key.sign(string.as_bytes());

        assert_eq!(signed.verify(&sent.request(), &key), Ok(()), "{path}?{query}");
    }
}

#[test]
fn a_presigned_url_lives_from_its_date_for_as_long_as_it_says() {
    let sent = presigned("GET", "/vec-bucket/k", 60, None);
    let at = |now_s| sent.check_at(&Rules { now_s, ..RULES }).map(|signed| signed.expires_s);

    for now_s in [NOW_S - 900, NOW_S, NOW_S + 60] {
        assert_eq!(at(now_s), Ok(Some(60)));
    }
    for now_s in [NOW_S - 901, NOW_S + 61] {
        assert_eq!(at(now_s), Err(ErrorCode::AccessDenied));
    }
}

#[test]
fn an_expiry_outside_a_week_is_refused_with_status_403() {
    for (expires, status) in
        [("0", 403), ("-7", 403), ("604801", 403), ("99999999999", 403), ("x", 400), ("", 400)]
    {
        let mut sent = presigned("GET", "/vec-bucket/k", 60, None);
        sent.query = sent.query.replace("Expires=60", &format!("Expires={expires}"));

        let refusal = Signed::from_query(&sent.request(), &RULES).unwrap_err();

        assert_eq!(
            (refusal.code, refusal.status),
            (ErrorCode::AuthorizationQueryParametersError, status),
            "{expires}"
        );
    }
}

#[test]
fn a_presigned_url_needs_all_its_parameters() {
    let whole = presigned("GET", "/vec-bucket/k", 60, None);
    for missing in whole.query.split('&') {
        let mut sent = whole.clone();
        sent.query = whole.query.split('&').filter(|pair| *pair != missing).collect::<Vec<_>>().join("&");

        let code = Signed::from_query(&sent.request(), &RULES).map(|_| ()).map_err(|refusal| refusal.code);

        assert_eq!(code, Err(ErrorCode::AuthorizationQueryParametersError), "{missing}");
    }
}

#[test]
fn a_credential_keeps_its_scope() {
    let signed = get().check_at(&RULES).unwrap();

    let expected = Credential {
        access_key: "TIDINGSEXAMPLEKEY01".to_owned(),
        date: "20260115".to_owned(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
    };
    assert_eq!(signed.credential, expected);
}

proptest! {
    /// Whatever the path, the query and the headers, what our signer signs our verifier accepts.
    #[test]
    fn a_signed_request_is_accepted(
        path in "/[a-z/.%~+!*'() ]{0,20}",
        query in "([a-z+]{1,3}=[a-zA-Z0-9.:/ +]{0,5}&){0,4}",
        value in "[ -~]{0,20}",
        is_presigned in prop::bool::ANY,
    ) {
        let path = path.replace('%', "%2f");
        let target = format!("{path}?{query}");
        let sent = match is_presigned {
            true => presigned("GET", &target, 60, None),
            false => Sent::new("GET", &target, &[HOST, ("x-amz-meta-a", &value)]).signed(EMPTY_SHA256, None),
        };
        prop_assert_eq!(sent.check(), Ok(()));
    }
}
