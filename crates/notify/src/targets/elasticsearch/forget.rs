//! Forgetting a bucket in an index whose documents are objects.
//!
//! The id of a document is a hash, and what an index can search for is a matter of its mapping. So all documents are
//! gone through in pages, of each no more than the name of its bucket, and those of the bucket are removed by their
//! ids. One that says nothing of a bucket stays. An index that keeps no `_source` cannot be gone through: that is said
//! before anything is removed.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, BULK, Server, outcome};
use crate::link::Fault;
use crate::target::Outcome;

/// Documents of a page: their ids and buckets are less than is read of an answer.
const PAGE: usize = 200;

/// How long the server remembers where a search stands, from page to page.
const REMEMBERED: &str = "1m";

/// What of a page is of use.
const FILTER: &str = "filter_path=_scroll_id,_shards.failed,hits.hits._id,hits.hits._source";

impl Server {
    /// Begins to go through the documents, also those that no search has seen yet.
    pub(super) async fn first_page(&self) -> Result<Value, Fault> {
        self.told(Method::POST, &format!("{}/_refresh", self.index), None).await?;
        // What a record says of its bucket, and what a gap does.
        let names = ["Records.s3.bucket.name", "Records.bucket"];
        let search = json!({"size": PAGE, "sort": ["_doc"], "_source": names});
        self.page(&format!("{}/_search?scroll={REMEMBERED}&{FILTER}", self.index), &search).await
    }

    /// Removes the documents of a bucket from a page and gives the next one. `None` behind the last.
    pub(super) async fn forget_on(&self, page: &Value, bucket: &str) -> Result<Option<Value>, Fault> {
        let scroll = &page["_scroll_id"];
        let Some(hits) = page["hits"]["hits"].as_array().filter(|hits| !hits.is_empty()) else {
            // It would be forgotten by itself.
            let _ = self.told(Method::DELETE, "_search/scroll", Some(&json!({"scroll_id": scroll}))).await;
            return Ok(None);
        };
        self.remove(&ids_of(hits, bucket)?).await?;
        let next = json!({"scroll": REMEMBERED, "scroll_id": scroll});
        self.page(&format!("_search/scroll?{FILTER}"), &next).await.map(Some)
    }

    async fn page(&self, path: &str, question: &Value) -> Result<Value, Fault> {
        let page = self.told(Method::POST, path, Some(question)).await?.body;
        if page["_scroll_id"].is_null() || page["_shards"]["failed"] != 0 {
            return Err(Fault::State("it does not find all documents".to_owned()));
        }
        Ok(page)
    }

    async fn remove(&self, ids: &[&Value]) -> Result<(), Fault> {
        if ids.is_empty() {
            return Ok(());
        }
        let lines: String = ids.iter().map(|id| format!("{}\n", json!({"delete": {"_id": id}}))).collect();
        let path = format!("{}/{BULK}", self.index);
        let answer = self.ask(Method::POST, &path, Some(lines.into())).await.map_err(Fault::Connection)?;
        let items = answer.body["items"].as_array().filter(|items| items.len() == ids.len());
        for item in items.ok_or_else(|| Fault::State(answer.reason()))? {
            if let Outcome::Away(reason) | Outcome::Refused(reason) = outcome(item)? {
                return Err(Fault::State(reason));
            }
        }
        Ok(())
    }

    /// Asks and takes nothing but a success for an answer.
    async fn told(&self, method: Method, path: &str, question: Option<&Value>) -> Result<Answer, Fault> {
        let question = question.map(|question| question.to_string().into());
        let answer = self.ask(method, path, question).await.map_err(Fault::Connection)?;
        if answer.status.is_success() { Ok(answer) } else { Err(Fault::State(answer.reason())) }
    }
}

/// The ids of the documents that tell of a bucket.
fn ids_of<'a>(hits: &'a [Value], bucket: &str) -> Result<Vec<&'a Value>, Fault> {
    if hits.iter().any(|hit| hit["_source"].is_null()) {
        let reason = "its index keeps no _source, so which documents are of the bucket cannot be found out: \
                      make an index that keeps it, name it in the target's settings, and try again";
        return Err(Fault::State(reason.to_owned()));
    }
    Ok(hits.iter().filter(|hit| is_of(&hit["_source"], bucket)).map(|hit| &hit["_id"]).collect())
}

/// Whether a document tells of a bucket.
fn is_of(document: &Value, bucket: &str) -> bool {
    let record = &document["Records"][0];
    record["s3"]["bucket"]["name"] == bucket || record["bucket"] == bucket
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ids_of;
    use crate::link::Fault;

    #[test]
    fn the_documents_of_a_bucket_are_found_and_an_index_without_sources_is_refused() {
        let object = |bucket: &str| json!({"Records": [{"s3": {"bucket": {"name": bucket}}}]});
        let mut hits = vec![
            json!({"_id": "1", "_source": object("album")}),
            json!({"_id": "2", "_source": object("attic")}),
            json!({"_id": "3", "_source": {"Records": [{"bucket": "album"}]}}),
            json!({"_id": "4", "_source": {}}),
        ];
        assert_eq!(ids_of(&hits, "album"), Ok(vec![&json!("1"), &json!("3")]));

        hits.push(json!({"_id": "5"}));
        let Err(Fault::State(reason)) = ids_of(&hits, "album") else { panic!("it was not refused") };
        assert!(reason.starts_with("its index keeps no _source"), "{reason}");
    }
}
