//! A writer: one operation after the other, of every kind, over keys that all writers share.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use tidings_s3::digest::BodyDigest;

use crate::judge::{Answer, Effect, Operation, Read};
use crate::load::{Load, Sent};
use crate::support::client::Answer as Response;
use crate::support::xml;

/// Keys that all writers share, and how many of them, the first ones, are hot.
const KEYS: usize = 200;
const HOT_KEYS: usize = 8;

/// Sizes of bodies in bytes, each as often as it stands here: empty, in the journal, in shards.
const SIZES: [usize; 8] = [0, 1 << 10, 1 << 10, 1 << 10, 1 << 10, 1 << 10, 1 << 10, 300 << 10];

/// What deletes do.
const ALONE: Effect = Effect::Remove { in_bulk: false };
const IN_BULK: Effect = Effect::Remove { in_bulk: true };

/// How long a writer whose request nobody took waits before the next.
const NOBODY_THERE: Duration = Duration::from_millis(5);

/// What a writer does next.
#[derive(Clone, Copy)]
enum Deed {
    Put,
    PutIfAbsent,
    PutDamaged,
    Copy,
    Multipart,
    Delete,
    BulkDelete,
    Read,
}

/// Deeds, with how often of a hundred they are done, and so when space is to be freed.
const DEEDS: [(Deed, u32, u32); 8] = [
    (Deed::Put, 42, 10),
    (Deed::PutIfAbsent, 5, 0),
    (Deed::PutDamaged, 2, 0),
    (Deed::Copy, 8, 0),
    (Deed::Multipart, 4, 0),
    (Deed::Delete, 14, 50),
    (Deed::BulkDelete, 5, 30),
    (Deed::Read, 20, 10),
];

/// See the module header.
pub(crate) struct Writer {
    load: Arc<Load>,
    number: usize,
    dice: StdRng,
    count: usize,
    /// Keys of its own that it has written.
    own: Vec<String>,
}

impl Writer {
    pub(crate) fn new(load: Arc<Load>, number: usize, seed: u64) -> Writer {
        let dice = StdRng::seed_from_u64(seed ^ (number as u64).rotate_left(32));
        Writer { load, number, dice, count: 0, own: Vec::new() }
    }

    /// Goes on until the load ends.
    pub(crate) async fn run(mut self) {
        while self.load.goes_on().await {
            let is_clearing = self.load.is_clearing();
            let weigh =
                |(_, usually, clearing): &(Deed, u32, u32)| if is_clearing { *clearing } else { *usually };
            let deed = DEEDS.choose_weighted(&mut self.dice, weigh).expect("the weights are a hundred").0;
            let token = format!("{}-{}", self.number, self.count);
            self.count += 1;
            if !self.deed(deed, &token).await {
                tokio::time::sleep(NOBODY_THERE).await;
            }
        }
    }

    /// Whether somebody took the request.
    async fn deed(&mut self, deed: Deed, token: &str) -> bool {
        match deed {
            Deed::Put => {
                let key =
                    if self.dice.random_bool(self.share_of_new()) { self.new_key() } else { self.any_key() };
                self.put(&key, token, &[]).await
            }
            Deed::PutIfAbsent => {
                let key = self.any_key();
                self.put(&key, token, &[("if-none-match", "*")]).await
            }
            Deed::PutDamaged => {
                let (key, other) = (self.any_key(), BASE64.encode(BodyDigest::new(false, None).finish().md5));
                let body = Bytes::from(format!("{token} is not what was meant"));
                let headers = [("content-md5", other.as_str()), ("x-amz-meta-token", token)];
                self.write(&key, token, (Method::PUT, &format!("/{key}")), &headers, body).await
            }
            Deed::Copy => self.copy(token).await,
            Deed::Multipart => self.multipart(token).await,
            Deed::Delete => {
                let key = self.key_to_delete();
                let begin_us = self.load.log.now_us();
                let sent = self.load.send(Method::DELETE, &format!("/{key}"), token, &[], Bytes::new()).await;
                note(&self.load, &[key], token, begin_us, ALONE, sent)
            }
            Deed::BulkDelete => self.bulk_delete(token).await,
            Deed::Read => {
                let key = self.any_key();
                read(&self.load, &key).await
            }
        }
    }

    fn share_of_new(&self) -> f64 {
        if self.load.prefers_new() { 0.8 } else { 0.15 }
    }

    fn any_key(&mut self) -> String {
        let keys = if self.dice.random_bool(0.4) { HOT_KEYS } else { KEYS };
        format!("k/{:03}", self.dice.random_range(0..keys))
    }

    fn new_key(&mut self) -> String {
        let key = format!("new/{}/{}", self.number, self.count);
        self.own.push(key.clone());
        key
    }

    fn key_to_delete(&mut self) -> String {
        if self.own.is_empty() || self.dice.random_bool(0.7) && !self.load.is_clearing() {
            return self.any_key();
        }
        let at = self.dice.random_range(0..self.own.len());
        self.own.swap_remove(at)
    }

    fn body(&mut self, token: &str) -> Bytes {
        let size = *SIZES.choose(&mut self.dice).expect("there are sizes");
        let mut body = format!("{} {token}\n", self.load.bucket).repeat(size / token.len() + 1);
        body.truncate(size);
        body.into()
    }

    async fn put(&mut self, key: &str, token: &str, headers: &[(&str, &str)]) -> bool {
        let body = self.body(token);
        let headers = [headers, &[("x-amz-meta-token", token)]].concat();
        self.write(key, token, (Method::PUT, &format!("/{key}")), &headers, body).await
    }

    /// Sends a request whose body becomes the object.
    async fn write(
        &self,
        key: &str,
        token: &str,
        (method, target): (Method, &str),
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> bool {
        let begin_us = self.load.log.now_us();
        let effect = Effect::Write { etag: Some(etag(&body)), size_bytes: body.len() as u64 };
        let sent = self.load.send(method, target, token, headers, body).await;
        note(&self.load, &[key.to_owned()], token, begin_us, effect, sent)
    }

    async fn copy(&mut self, token: &str) -> bool {
        let key = self.any_key();
        let (name, body) = *ORIGINS.choose(&mut self.dice).expect("there are sources");
        let source = format!("/{}/{name}", origin_of(&self.load.bucket));
        let headers = [
            ("x-amz-copy-source", source.as_str()),
            ("x-amz-metadata-directive", "REPLACE"),
            ("x-amz-meta-token", token),
        ];
        let begin_us = self.load.log.now_us();
        let effect = Effect::Write { etag: Some(etag(body.as_bytes())), size_bytes: body.len() as u64 };
        let sent = self.load.send(Method::PUT, &format!("/{key}"), token, &headers, Bytes::new()).await;
        note(&self.load, &[key], token, begin_us, effect, sent)
    }

    /// The operation is the completion; what comes before changes no object and is not told.
    async fn multipart(&mut self, token: &str) -> bool {
        let key = self.any_key();
        let metadata = [("x-amz-meta-token", token)];
        let begun =
            self.load.send(Method::POST, &format!("/{key}?uploads"), token, &metadata, Bytes::new()).await;
        let Some(begun) = success(begun) else { return false };
        let upload = xml::text(begun.text(), "UploadId");
        let body = self.body(token);
        let size_bytes = body.len() as u64;
        let part = format!("/{key}?partNumber=1&uploadId={upload}");
        let Some(part) = success(self.load.send(Method::PUT, &part, token, &[], body).await) else {
            return false;
        };
        let tag = part.header("etag");
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
        );
        let begin_us = self.load.log.now_us();
        let target = format!("/{key}?uploadId={upload}");
        let sent = self.load.send(Method::POST, &target, token, &[], list.into()).await;
        let etag = match &sent {
            Sent::Answered(answer) if answer.status.is_success() => Some(
                xml::text(answer.text(), "ETag").replace("&quot;", "").replace("&#34;", "").replace('"', ""),
            ),
            _ => None,
        };
        note(&self.load, &[key], token, begin_us, Effect::Write { etag, size_bytes }, sent)
    }

    async fn bulk_delete(&mut self, token: &str) -> bool {
        let mut keys: Vec<String> = (0..3).map(|_| self.key_to_delete()).collect();
        keys.sort();
        keys.dedup();
        let objects: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
        let body = Bytes::from(format!("<Delete>{objects}</Delete>"));
        let mut digest = BodyDigest::new(false, None);
        digest.update(&body);
        let md5 = BASE64.encode(digest.finish().md5);
        let begin_us = self.load.log.now_us();
        let sent = self.load.send(Method::POST, "?delete", token, &[("content-md5", &md5)], body).await;
        if let Sent::Answered(answer) = &sent
            && answer.status.is_success()
            && answer.text().contains("<Error>")
        {
            // Each key has an outcome of its own, and which one was not carried out is not asked for.
            return note(&self.load, &keys, token, begin_us, IN_BULK, Sent::Silence);
        }
        note(&self.load, &keys, token, begin_us, IN_BULK, sent)
    }
}

/// Objects that are copied, in a bucket of which nothing is told: name and body.
pub(crate) const ORIGINS: [(&str, &str); 3] =
    [("one", "one origin"), ("two", "another origin"), ("none", "")];

/// The bucket of the objects that are copied.
pub(crate) fn origin_of(bucket: &str) -> String {
    format!("{bucket}-origin")
}

/// Reads a key of the bucket and notes what was there. Whether somebody took the request.
pub(crate) async fn read(load: &Load, key: &str) -> bool {
    let begin_us = load.log.now_us();
    let found = match load.send(Method::HEAD, &format!("/{key}"), "read", &[], Bytes::new()).await {
        Sent::Answered(answer) if answer.status == StatusCode::NOT_FOUND => None,
        Sent::Answered(answer) if answer.status.is_success() => {
            Some(answer.header("x-amz-meta-token").to_owned())
        }
        Sent::Answered(_) | Sent::Silence => return true,
        Sent::Never => return false,
    };
    let end_us = load.log.now_us();
    load.log.read(Read { key: format!("{}/{key}", load.bucket), found, begin_us, end_us });
    true
}

/// Deletes a key of the bucket and notes what became of it.
pub(crate) async fn delete(load: &Load, key: &str, token: &str) {
    let begin_us = load.log.now_us();
    let sent = load.send(Method::DELETE, &format!("/{key}"), token, &[], Bytes::new()).await;
    note(load, &[key.to_owned()], token, begin_us, ALONE, sent);
}

/// Notes what became of an operation. Whether somebody took it.
fn note(load: &Load, keys: &[String], token: &str, begin_us: u64, effect: Effect, sent: Sent) -> bool {
    let answer = match sent {
        Sent::Never => return false,
        Sent::Silence => Answer::Silence { settled_us: None },
        Sent::Answered(answer) => {
            if answer.status == StatusCode::INSUFFICIENT_STORAGE {
                load.log.refused_as_full();
            }
            answer_of(&answer, load.log.now_us())
        }
    };
    for key in keys {
        load.log.operation(Operation {
            key: format!("{}/{key}", load.bucket),
            token: token.to_owned(),
            effect: effect.clone(),
            begin_us,
            answer: answer.clone(),
        });
    }
    true
}

/// What an answer says. A 5xx says nothing: S3 has no code for "not done" there, but for the want of space.
fn answer_of(answer: &Response, end_us: u64) -> Answer {
    if answer.status.is_success() {
        let request_id = Some(answer.header("x-amz-request-id").to_owned()).filter(|id| !id.is_empty());
        Answer::Acknowledged { end_us, request_id }
    } else if answer.status.is_client_error() || answer.status == StatusCode::INSUFFICIENT_STORAGE {
        Answer::Refused
    } else {
        Answer::Silence { settled_us: None }
    }
}

fn success(sent: Sent) -> Option<Response> {
    match sent {
        Sent::Answered(answer) if answer.status.is_success() => Some(answer),
        _ => None,
    }
}

fn etag(body: &[u8]) -> String {
    let mut digest = BodyDigest::new(false, None);
    digest.update(body);
    hex::encode(digest.finish().md5)
}
