//! Elasticsearch 7 or later, and OpenSearch: a document per object in an index, or one per record.
//!
//! One `_bulk` request a batch, many at once. The server tells of each record what became of it. It counts as delivered
//! when it is stored, which is when the server's translog is synced, unless the index says otherwise. A document can be
//! searched for after the index's next refresh, a second by default. A request that is too long for the server, or
//! whose answer is too long for us, is halved.
//!
//! The first contact asks the server for its version and makes the index when there is none of that name, nor an alias
//! or a data stream; so does the first one after an index or the connection was lost.
//!
//! With `namespace` the id of a document is that of MinIO, so that an index it filled can be used on:
//! HighwayHash-256 of `bucket/key` under a fixed key, in base64 for URLs.
//!
//! How a bucket is forgotten is in `elasticsearch/forget.rs`.
//!
//! Source of keys, ids and documents: MinIO's Elasticsearch target.

mod forget;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher, Key};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use store::Future;
use tidings_store as store;

use crate::format::{Entry, Format};
use crate::http;
use crate::link::{BATCH_RECORDS, EXCHANGE_MS, Fault, Link, Taken, only};
use crate::record::Form;
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings,
    has_nothing_to_forget, in_full,
};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "elasticsearch",
    subsystem: "notify_elasticsearch",
    env: "ELASTICSEARCH",
    help: "keeps the records of changes in an index of an Elasticsearch or OpenSearch server",
    keys: &[
        KeySpec::new("url", "URL", KeyKind::Url, "address of the server, such as https://localhost:9200")
            .required(),
        KeySpec::new(
            "index",
            "INDEX",
            KeyKind::Text,
            "the index that records go to, made when it is not there",
        )
        .required(),
        Format::KEY,
        KeySpec::new("username", "USERNAME", KeyKind::Text, "user name, when the server wants one"),
        KeySpec::new("password", "PASSWORD", KeyKind::Text, "password of that user").secret(),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Elasticsearch::new(settings, surroundings)?)),
};

/// Requests under way at once.
const IN_FLIGHT_MAX: usize = 32;

/// The oldest version whose documents have no types.
const VERSION_MIN: u64 = 7;

/// The key of MinIO's document ids, four numbers of its 32 bytes.
const ID_KEY: [u64; 4] =
    [0xcd8a_238e_fa34_e74b, 0x5285_96bb_e683_3e26, 0x1444_9fa3_5d93_0f04, 0xa036_de22_139d_e097];

/// Longest name of an index, in bytes.
const INDEX_BYTES_MAX: usize = 255;

/// What of an answer to `_bulk` is of use.
const BULK: &str = "_bulk?filter_path=items.*.status,items.*.result,items.*.error.type,items.*.error.reason";

/// How much of a refusal is quoted, in characters.
const QUOTE_CHARS_MAX: usize = 200;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    base(settings)?;
    Format::of(settings)?;
    let index = settings.value("index");
    if !is_index(index) {
        return Err(format!(
            "index is {index}, an index has lower-case letters, digits, - _ . and +, and begins with a letter or digit"
        ));
    }
    if settings.value("username").is_empty() != settings.value("password").is_empty() {
        return Err("username and password must both be set or neither".to_owned());
    }
    Ok(())
}

/// The address, with the end that a path can be put behind.
fn base(settings: &TargetSettings) -> Result<Url, String> {
    let text = settings.value("url");
    // Before anything is quoted: what stands before an @ is a password.
    if text.contains('@') {
        return Err("url names a user; username and password have keys of their own".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("url is none: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("url has the scheme {}, http and https are known", url.scheme()));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn is_index(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().next().is_some_and(is_first)
        && name.len() <= INDEX_BYTES_MAX
        && name.bytes().all(|byte| is_first(byte) || b"-_.+".contains(&byte))
}

/// The id of a key's document.
fn document_id(key: &str) -> String {
    let mut hasher = HighwayHasher::new(Key(ID_KEY));
    hasher.append(key.as_bytes());
    let hash: Vec<u8> = hasher.finalize256().iter().flat_map(|part| part.to_le_bytes()).collect();
    BASE64_URL_SAFE.encode(hash)
}

struct Elasticsearch {
    format: Format,
    server: Server,
    /// Holds nothing but that the server was asked and the index is there.
    link: Link<()>,
}

#[derive(Clone)]
struct Server {
    client: Client,
    base: Url,
    index: String,
}

impl Elasticsearch {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Elasticsearch, String> {
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if !settings.value("username").is_empty() {
            let login = format!("{}:{}", settings.value("username"), settings.value("password"));
            let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(login)))
                .expect("base64 can stand in a header");
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let tls = TlsKeys::default().of(settings).client_config(surroundings)?;
        let client = http::client(tls, headers, EXCHANGE_MS, IN_FLIGHT_MAX)?;
        let server = Server { client, base: base(settings)?, index: settings.value("index").to_owned() };
        let asked = server.clone();
        let link = Link::new(move || Box::pin(asked.clone().prepare()));
        Ok(Elasticsearch { format: Format::of(settings)?, server, link })
    }
}

/// An answer.
struct Answer {
    status: StatusCode,
    /// `null` when it was no JSON.
    body: Value,
    text: String,
}

impl Answer {
    /// What it says went wrong.
    fn reason(&self) -> String {
        reason(self.status, &self.body["error"], &self.text)
    }
}

/// What went wrong by an answer's error, or by the whole text where it has none.
fn reason(status: StatusCode, error: &Value, text: &str) -> String {
    let told = [error["type"].as_str(), error["reason"].as_str()].into_iter().flatten().collect::<Vec<_>>();
    let told = if told.is_empty() { text.to_owned() } else { told.join(": ") };
    // A proxy's page would be many lines in the log.
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let quote: String = told.chars().take(QUOTE_CHARS_MAX).collect();
    format!("it answered {status} {quote}").trim_end().to_owned()
}

/// What a `_bulk` request says for records: for each a line of what to do and, mostly, the document in a line.
fn bulk(format: Format, records: &[Delivery]) -> Bytes {
    let mut lines = Vec::new();
    for record in records {
        let id = || document_id(&record.key);
        let (action, document) = match (format, Entry::of(record.event)) {
            (Format::Namespace, Entry::Set) => (json!({"index": {"_id": id()}}), Some(&record.body)),
            (Format::Namespace, Entry::Remove) => (json!({"delete": {"_id": id()}}), None),
            (Format::Access, _) => (json!({"create": {}}), Some(&record.body)),
        };
        lines.extend_from_slice(action.to_string().as_bytes());
        if let Some(document) = document {
            lines.push(b'\n');
            lines.extend_from_slice(document);
        }
        lines.push(b'\n');
    }
    lines.into()
}

/// What became of one record of a `_bulk` request.
fn outcome(item: &Value) -> Result<Outcome, Fault> {
    // `{"index": {…}}`, by what was to be done.
    let done = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
    let status =
        done["status"].as_u64().and_then(|status| StatusCode::from_u16(status.try_into().ok()?).ok());
    let Some(status) = status else {
        return Err(Fault::State("it did not say what became of a record".to_owned()));
    };
    let reason = || reason(status, &done["error"], "");
    match status {
        status if status.is_success() => Ok(Outcome::Acknowledged),
        // There was no document to remove.
        StatusCode::NOT_FOUND if done["result"] == "not_found" => Ok(Outcome::Acknowledged),
        // The index is gone.
        StatusCode::NOT_FOUND => Err(Fault::Connection(reason())),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(Outcome::Refused(reason())),
        _ => Ok(Outcome::Away(reason())),
    }
}

impl Server {
    async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, String> {
        let url = self.base.join(path).expect("a path of letters and digits can be put behind a URL");
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.body(body);
        }
        let mut answer = request.send().await.map_err(|error| in_full(&error.without_url()))?;
        let text = http::text_of(&mut answer).await;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status: answer.status(), body, text })
    }

    /// Sees that the server is one that we know, and that the index is there.
    async fn prepare(self) -> Result<(), String> {
        let about = self.ask(Method::GET, "", None).await?;
        if !about.status.is_success() {
            return Err(about.reason());
        }
        let version = about.body["version"]["number"].as_str().unwrap_or_default();
        let major: u64 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        let is_opensearch = about.body["version"]["distribution"] == "opensearch";
        if major < VERSION_MIN && !is_opensearch {
            return Err(format!("it is version {version}, at least {VERSION_MIN} is needed"));
        }
        let found = self.ask(Method::HEAD, &self.index, None).await?;
        if found.status != StatusCode::NOT_FOUND {
            return if found.status.is_success() { Ok(()) } else { Err(found.reason()) };
        }
        let made = self.ask(Method::PUT, &self.index, None).await?;
        let was_there = made.body["error"]["type"] == "resource_already_exists_exception";
        if made.status.is_success() || was_there { Ok(()) } else { Err(made.reason()) }
    }

    async fn keep(&self, format: Format, records: &[Delivery]) -> Taken {
        let path = format!("{}/{BULK}", self.index);
        let answer =
            self.ask(Method::POST, &path, Some(bulk(format, records))).await.map_err(Fault::Connection)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(Fault::Record(answer.reason()));
            }
            StatusCode::NOT_FOUND => return Err(Fault::Connection(answer.reason())),
            _ => return Err(Fault::State(answer.reason())),
        }
        match answer.body["items"].as_array() {
            Some(items) if items.len() == records.len() => items.iter().map(outcome).collect(),
            // Cut where we stopped reading, since it says much about many records.
            _ if records.len() > 1 => Err(Fault::Record("its answer cannot be read".to_owned())),
            _ => Err(Fault::State(format!("its answer cannot be read: {}", answer.reason()))),
        }
    }
}

impl Target for Elasticsearch {
    fn form(&self) -> Form {
        Form::MinioRecords
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    fn batch_max(&self) -> usize {
        BATCH_RECORDS
    }

    /// Asks for the index, so that a wrong password shows as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.link.probe(|()| async {
            let found = self.server.ask(Method::HEAD, &self.server.index, None).await;
            let found = found.map_err(Fault::Connection)?;
            if found.status.is_success() { Ok(()) } else { Err(Fault::Connection(found.reason())) }
        }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(only(self.deliver_batch(vec![delivery])))
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        Box::pin(async move {
            self.link.deliver_batch(&batch, |(), records| self.server.keep(self.format, records)).await
        })
    }

    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        if self.format == Format::Access {
            return has_nothing_to_forget();
        }
        Box::pin(async move {
            let mut next =
                Some(self.link.exchange(|()| self.server.first_page()).await.map_err(Fault::reason)?);
            while let Some(page) = next {
                next = self
                    .link
                    .exchange(|()| self.server.forget_on(&page, bucket))
                    .await
                    .map_err(Fault::reason)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidings_store::ChangeKind;

    use super::{KIND, bulk, check, document_id, is_index, outcome};
    use crate::event::Event;
    use crate::format::Format;
    use crate::link::Fault;
    use crate::target::{Delivery, Outcome, TargetId, TargetSettings};

    /// Recorded by running github.com/minio/highwayhash 1.0.3 with MinIO's key.
    #[test]
    fn ids_are_those_of_minio() {
        assert_eq!(document_id("album/rose.jpg"), "8LFS-vcsYbML7Z29923TM3wlysW6LARBtWDYGvJrYWA=");
        assert_eq!(document_id("album/a/rose & ü.jpg"), "knhMbuC6esu9iJYvqS1YVlAey4VhqSGd1tiL8LZcdGo=");
        assert_eq!(document_id(""), "XnbSB89Ksghm_cA8g-ig9Oj0WOiAd3lW7AuuTp8j9sU=");
    }

    #[test]
    fn a_batch_is_a_request_with_a_line_for_what_to_do_and_one_for_a_document() {
        let record = |key: &str, kind| Delivery {
            key: key.to_owned(),
            event: Event::of(kind),
            time_ms: 0,
            body: r#"{"Records":[]}"#.into(),
            attributes: vec![],
        };
        let records = [record("album/rose.jpg", ChangeKind::Put), record("", ChangeKind::Delete)];
        let said = |format| String::from_utf8(bulk(format, &records).to_vec()).unwrap();
        let index = r#"{"index":{"_id":"8LFS-vcsYbML7Z29923TM3wlysW6LARBtWDYGvJrYWA="}}"#;
        let delete = r#"{"delete":{"_id":"XnbSB89Ksghm_cA8g-ig9Oj0WOiAd3lW7AuuTp8j9sU="}}"#;
        let (create, document) = (r#"{"create":{}}"#, r#"{"Records":[]}"#);
        assert_eq!(said(Format::Namespace), format!("{index}\n{document}\n{delete}\n"));
        assert_eq!(said(Format::Access), format!("{create}\n{document}\n").repeat(2));
    }

    #[test]
    fn an_answer_tells_of_each_record_what_became_of_it() {
        let error = json!({"type": "mapper_parsing_exception", "reason": "failed to parse"});
        let of = |status: u16, result: &str| {
            outcome(&json!({"index": {"status": status, "result": result, "error": error}}))
        };
        assert_eq!(
            [of(201, "created"), of(404, "not_found")],
            [Ok(Outcome::Acknowledged), Ok(Outcome::Acknowledged)]
        );
        let told = "it answered 400 Bad Request mapper_parsing_exception: failed to parse".to_owned();
        assert_eq!(of(400, ""), Ok(Outcome::Refused(told)));
        assert!(matches!([of(429, ""), of(503, "")], [Ok(Outcome::Away(_)), Ok(Outcome::Away(_))]));
        assert!(matches!(of(404, ""), Err(Fault::Connection(_))), "the index is gone");
        assert!(matches!(outcome(&json!({})), Err(Fault::State(_))));
    }

    #[test]
    fn an_index_is_a_name_that_the_server_takes() {
        assert!(["events", "1", "a-b_c.d+e"].iter().all(|name| is_index(name)));
        assert_eq!(["", "Events", "_a", "a b", "a/b", "a,b", "a*"].map(is_index), [false; 7]);
        assert!(!is_index(&"a".repeat(256)));
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| {
            let pairs = [&[("url", "http://es:9200"), ("index", "events")], pairs].concat();
            let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            let target = TargetId { id: "1".to_owned(), kind: "elasticsearch" };
            check(&TargetSettings { target, values }).err().unwrap_or_default()
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("url", "")]), "url is required and not set");
        assert_eq!(told(&[("url", "es:9200")]), "url has the scheme es, http and https are known");
        assert_eq!(
            told(&[("url", "http://u:geheim@es")]),
            "url names a user; username and password have keys of their own"
        );
        assert_eq!(
            told(&[("index", "Events")]),
            "index is Events, an index has lower-case letters, digits, - _ . and +, and begins with a letter or digit"
        );
        assert_eq!(told(&[("format", "documents")]), "format is documents, known are namespace and access");
        assert_eq!(told(&[("username", "u")]), "username and password must both be set or neither");
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["password"]
        );
    }
}
