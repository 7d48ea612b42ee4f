//! One request, as every step of its path sees it.
//!
//! It is made once, before anything is decided, from what came over the wire: the head, the address, the
//! decoded query, where the request came from, its id. Authentication adds the caller.
//!
//! # Invariants
//!
//! 1. `headers` always holds a `host`: over HTTP/2 that of `:authority`, the name under which it is signed.
//! 2. The id is unique over the life of the server, and it is the id of the response, of the error document
//!    and of the record.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{FORWARDED, HOST, HeaderValue, RANGE, USER_AGENT};
use http::{HeaderMap, request};

use iam::Caller;
use s3::address::Address;
use s3::{ErrorCode, Headers, Refusal, percent};
use store::{BucketName, ObjectKey, Origin, VersionId};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::body::Body;
use crate::error::Failure;
use crate::{Gateway, RequestBody};

/// One request.
pub(crate) struct Request {
    /// Method, URI, headers.
    pub(crate) head: request::Parts,
    /// The body, not read until an operation does.
    pub(crate) body: Body,
    /// The decoded pairs of the query, in the order sent.
    pub(crate) query: Vec<(String, String)>,
    /// 16 upper-case hexadecimal digits.
    pub(crate) id: String,
    /// The client's address without port; IPv6 in brackets.
    pub(crate) source_host: String,
    /// Who asks; anonymous until authenticated.
    pub(crate) caller: Caller,
    /// The name of the operation, once it is known.
    pub(crate) operation: Option<&'static str>,
    bucket: Option<BucketName>,
    key: Option<ObjectKey>,
    /// What is wrong with the address; told only to who has authenticated.
    refusal: Option<Refusal>,
}

impl Request {
    /// Takes what came over the wire.
    pub(crate) fn new(
        gateway: &Gateway,
        mut head: request::Parts,
        body: RequestBody,
        peer: SocketAddr,
    ) -> Request {
        if !head.headers.contains_key(HOST)
            && let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        let host = text(&head.headers, "host").unwrap_or_default();
        let address = Address::parse(host, head.uri.path(), &gateway.setup.domains);
        let query = percent::query_pairs(head.uri.query().unwrap_or_default());
        let mut request = Request {
            id: gateway.request_ids.next(gateway.now_ns()),
            source_host: source_host(&head.headers, peer.ip()),
            body: Body::new(&head.headers, body),
            query: Vec::new(),
            caller: Caller::Anonymous,
            operation: None,
            bucket: None,
            key: None,
            refusal: None,
            head,
        };
        match address.and_then(|address| names(&address)) {
            Ok((bucket, key)) => (request.bucket, request.key) = (bucket, key),
            Err(refusal) => request.refusal = Some(refusal),
        }
        match query {
            Ok(query) => request.query = query,
            Err(refusal) => request.refusal = Some(refusal),
        }
        request
    }

    /// What is wrong with the address or the query.
    ///
    /// # Errors
    ///
    /// `InvalidBucketName`, `KeyTooLongError`, `XMinioInvalidObjectName`, `InvalidURI`, `AllAccessDisabled`.
    pub(crate) fn check_address(&self) -> Result<(), Failure> {
        self.refusal.clone().map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The bucket the request addresses.
    pub(crate) fn bucket(&self) -> &BucketName {
        self.bucket.as_ref().expect("an operation on buckets is routed to with a bucket")
    }

    /// The key the request addresses.
    pub(crate) fn key(&self) -> &ObjectKey {
        self.key.as_ref().expect("an operation on objects is routed to with a key")
    }

    /// The bucket, when one is addressed.
    pub(crate) fn bucket_text(&self) -> Option<&str> {
        self.bucket.as_ref().map(BucketName::as_str)
    }

    /// The key, when one is addressed.
    pub(crate) fn key_text(&self) -> Option<&str> {
        self.key.as_ref().map(ObjectKey::as_str)
    }

    /// The decoded path, for error documents.
    pub(crate) fn resource(&self) -> String {
        let raw = self.head.uri.path();
        percent::decode(raw)
            .map_or_else(|_| raw.to_owned(), |path| String::from_utf8_lossy(&path).into_owned())
    }

    /// Whether the path belongs to the admin API, whose errors are JSON.
    pub(crate) fn is_admin(&self) -> bool {
        let path = self.head.uri.path();
        path.starts_with("/minio/admin/") || path.starts_with("/minio/tidings/")
    }

    /// The first value of a query parameter; empty when it was sent without one.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a header as text without surrounding blanks.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.head.headers, name)
    }

    /// The headers as the protocol functions read them.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(&self.head.headers)
    }

    /// The version the request names; empty is none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for anything but `null` and a UUID.
    pub(crate) fn version(&self) -> Result<Option<VersionId>, Failure> {
        match self.query("versionId").filter(|id| !id.is_empty()) {
            None => Ok(None),
            Some(text) => parse_version(text).map(Some),
        }
    }

    /// A number in the query; `None` when it is absent or empty.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it is no number from `least` to `most`.
    pub(crate) fn number(&self, name: &'static str, least: u32, most: u32) -> Result<Option<u32>, Failure> {
        let Some(text) = self.query(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let number = text.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
        let refuse = || {
            let message = format!("Argument {name} must be an integer between {least} and {most}.");
            Failure::argument(name, text, message)
        };
        number.map(Some).ok_or_else(refuse)
    }

    /// How many entries a page of a listing may have: at most 1,000, also when more are asked for.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it is no number or negative.
    pub(crate) fn page_limit(&self, name: &'static str) -> Result<usize, Failure> {
        let limit = self.number(name, 0, i32::MAX.unsigned_abs())?.unwrap_or(PAGE_ENTRIES_MAX);
        Ok(limit.min(PAGE_ENTRIES_MAX) as usize)
    }

    /// Who asks and from where, for the change this request causes.
    ///
    /// `response_length` is the response's `Content-Length` where records tell it: on GET, HEAD, COPY, DELETE
    /// and CompleteMultipartUpload, not on PUT.
    pub(crate) fn origin(&self, gateway: &Gateway, response_length: Option<u64>) -> Origin {
        Origin {
            principal: self.caller.principal().to_owned(),
            source_host: self.source_host.clone(),
            user_agent: lossy(self.head.headers.get(USER_AGENT)).unwrap_or_default(),
            request_id: self.id.clone(),
            region: gateway.setup.region.clone(),
            range: lossy(self.head.headers.get(RANGE)),
            response_length,
            endpoint: gateway.url.clone(),
        }
    }
}

/// Most entries of one page of a listing. S3 API reference, ListObjectsV2, `max-keys`.
pub(crate) const PAGE_ENTRIES_MAX: u32 = 1000;

/// A version id as a client sends it.
///
/// # Errors
///
/// `InvalidArgument` for anything but `null` and a UUID.
pub(crate) fn parse_version(text: &str) -> Result<VersionId, Failure> {
    VersionId::parse(text)
        .ok_or_else(|| Failure::argument("versionId", text, "Invalid version id specified."))
}

/// Request headers, as the protocol functions read them.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'h>(pub(crate) &'h HeaderMap);

impl Headers for Fields<'_> {
    fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self.0 {
            visit(name.as_str(), value.as_bytes());
        }
    }

    fn first<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        first(self.0, name)
    }
}

/// The first value of a header, whose name is given in lower case.
fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    // A request has a dozen headers and is asked for three dozen, mostly in vain: comparing names is less work than
    // parsing and hashing the one that is asked for.
    headers.iter().find(|(have, _)| have.as_str() == name).map(|(_, value)| value.as_bytes())
}

/// The first value of a header as text without surrounding blanks; `None` also when it is not UTF-8.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    first(headers, name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
}

/// Makes request ids from the clock, each greater than the one before.
#[derive(Debug, Default)]
pub(crate) struct RequestIds(AtomicU64);

impl RequestIds {
    /// The next id: the clock in nanoseconds, or one more than the last when the clock has not moved on.
    fn next(&self, now_ns: u64) -> String {
        let last =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now_ns.max(last + 1)));
        let last = last.expect("the update always gives a value");
        format!("{:016X}", now_ns.max(last + 1))
    }
}

/// The names an address holds, checked.
fn names(address: &Address) -> Result<(Option<BucketName>, Option<ObjectKey>), Refusal> {
    let Some(bucket) = address.bucket() else {
        return Ok((None, None));
    };
    if s3::address::is_reserved_bucket_name(bucket) {
        return Err(ErrorCode::AllAccessDisabled.into());
    }
    s3::address::check_bucket_name(bucket)?;
    let bucket = BucketName::new(bucket).ok_or(ErrorCode::InvalidBucketName)?;
    let key = match address.key() {
        None => None,
        Some(key) => Some(ObjectKey::new(key).ok_or(ErrorCode::XMinioInvalidObjectName)?),
    };
    Ok((Some(bucket), key))
}

/// The client's address: the first that proxies tell, whoever they are, else that of the socket.
///
/// # Source
///
/// MinIO's order, `X-Forwarded-For`, `X-Real-IP`, `Forwarded`, so that records show what its users expect.
fn source_host(headers: &HeaderMap, peer: IpAddr) -> String {
    let told = |name: &str| text(headers, name).map(str::to_owned);
    let first = |list: String| list.split(',').next().map(|first| first.trim().to_owned());
    let forwarded_for = told("x-forwarded-for").and_then(first);
    let told = forwarded_for.or_else(|| told("x-real-ip")).or_else(|| forwarded(headers));
    match told.filter(|host| !host.is_empty()) {
        Some(host) => match host.parse::<IpAddr>() {
            Ok(address) => bracketed(address),
            Err(_) => host,
        },
        None => bracketed(peer),
    }
}

/// The `for` of the first element of `Forwarded`. RFC 7239 §4.
fn forwarded(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(FORWARDED)?.to_str().ok()?;
    let element = value.split(',').next()?;
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })?;
    // An IPv6 address stands in brackets, with or without a port behind it.
    if let Some((address, _)) = node.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return Some(address.to_owned());
    }
    Some(node.split(':').next().unwrap_or(node).to_owned())
}

fn bracketed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn lossy(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use super::{RequestIds, source_host};

    fn host(fields: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        source_host(&headers, IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn the_first_address_a_proxy_tells_is_the_source_and_the_socket_without_one() {
        assert_eq!(host(&[]), "127.0.0.1");
        assert_eq!(host(&[("x-forwarded-for", "10.0.0.1, 10.0.0.2"), ("x-real-ip", "10.0.0.9")]), "10.0.0.1");
        assert_eq!(host(&[("x-real-ip", "2001:db8::1")]), "[2001:db8::1]");
        assert_eq!(host(&[("forwarded", "for=\"[2001:db8::1]:4711\";proto=http, for=x")]), "[2001:db8::1]");
        assert_eq!(host(&[("forwarded", "proto=http; For=192.0.2.60:80")]), "192.0.2.60");
    }

    #[test]
    fn request_ids_grow_also_when_the_clock_stands_or_steps_back() {
        let ids = RequestIds::default();
        let made = [ids.next(0x18E9_FDBC_9F5A_D436), ids.next(0x18E9_FDBC_9F5A_D436), ids.next(5)];
        assert_eq!(made, ["18E9FDBC9F5AD436", "18E9FDBC9F5AD437", "18E9FDBC9F5AD438"]);
    }
}
