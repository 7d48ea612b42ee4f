//! What listings have in common: their parameters, their owner, their entries and prefixes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use s3::ErrorCode;
use s3::xml::{KeyEncoding, Writer};
use store::listing::{ListPage, ListQuery, Listed};
use tidings_s3 as s3;
use tidings_store as store;

use crate::authorize::{OWNER_ID, OWNER_NAME};
use crate::context::Request;
use crate::error::Failure;
use crate::metadata::{from_store, xml_time};

/// What a listing of a bucket asks for.
pub(super) struct Parameters {
    pub(super) prefix: String,
    pub(super) delimiter: String,
    pub(super) limit: usize,
    pub(super) encoding: KeyEncoding,
}

impl Parameters {
    /// Reads them from the query.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a page size that is no number, an unknown encoding, and for Ceph's
    /// `allow-unordered` with a delimiter.
    pub(super) fn read(request: &Request, limit: &'static str) -> Result<Parameters, Failure> {
        let text = |name| request.query(name).unwrap_or_default().to_owned();
        let delimiter = text("delimiter");
        if request.query("allow-unordered") == Some("true") && !delimiter.is_empty() {
            return Err(Failure::argument(
                "allow-unordered",
                "true",
                "An unordered listing has no delimiter.",
            ));
        }
        Ok(Parameters {
            prefix: text("prefix"),
            delimiter,
            limit: request.page_limit(limit)?,
            encoding: KeyEncoding::parse(request.query("encoding-type"))?,
        })
    }

    /// The question to the store, after a key.
    pub(super) fn to_query(&self, after: String) -> ListQuery {
        ListQuery {
            prefix: self.prefix.clone(),
            delimiter: self.delimiter.clone(),
            after,
            after_version: None,
            limit: self.limit,
        }
    }

    /// Writes what was asked for: the name of the bucket, then prefix, page size, delimiter and encoding.
    pub(super) fn echo(&self, writer: &mut Writer, request: &Request, limit: &str) {
        writer.text("Name", request.bucket().as_str());
        writer.key("Prefix", &self.prefix, self.encoding);
        writer.value(limit, self.limit);
        self.echo_optional(writer);
    }

    /// Writes delimiter and encoding when they were asked for.
    pub(super) fn echo_optional(&self, writer: &mut Writer) {
        if !self.delimiter.is_empty() {
            writer.key("Delimiter", &self.delimiter, self.encoding);
        }
        if self.encoding == KeyEncoding::Url {
            writer.text("EncodingType", "url");
        }
    }

    /// Writes the common prefixes of a page.
    pub(super) fn common_prefixes(&self, writer: &mut Writer, prefixes: &[String]) {
        for prefix in prefixes {
            writer.open("CommonPrefixes");
            writer.key("Prefix", prefix, self.encoding);
            writer.close();
        }
    }

    /// Writes the objects of a page.
    pub(super) fn contents(&self, writer: &mut Writer, page: &ListPage, with_owner: bool) {
        for entry in &page.entries {
            writer.open("Contents");
            writer.key("Key", &entry.key, self.encoding);
            object(writer, entry);
            if with_owner {
                owner(writer, "Owner");
            }
            writer.close();
        }
    }
}

/// Writes what an entry tells of its object.
pub(super) fn object(writer: &mut Writer, entry: &Listed) {
    writer.text("LastModified", &xml_time(entry.modified_ms));
    writer.text("ETag", &s3::etag::quoted(&entry.etag.0));
    if let Some((algorithm, is_full_object)) = entry.checksum {
        writer.text("ChecksumAlgorithm", from_store(algorithm).name());
        writer.text("ChecksumType", if is_full_object { "FULL_OBJECT" } else { "COMPOSITE" });
    }
    writer.value("Size", entry.size_bytes);
    writer.text("StorageClass", entry.storage_class.as_deref().unwrap_or("STANDARD"));
}

/// Writes the owner of everything, as `Owner` or `Initiator`.
pub(super) fn owner(writer: &mut Writer, element: &'static str) {
    writer.open(element);
    writer.text("ID", OWNER_ID);
    writer.text("DisplayName", OWNER_NAME);
    writer.close();
}

/// The token that goes on after a key.
pub(super) fn token(after: &str) -> String {
    BASE64.encode(after)
}

/// The key a token goes on after.
///
/// # Errors
///
/// `InvalidArgument` for a token that this server did not give.
pub(super) fn read_token(token: &str) -> Result<String, Failure> {
    let key = BASE64.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(|| bad_token(token))
}

/// The answer to a continuation token that this server did not give.
pub(super) fn bad_token(token: &str) -> Failure {
    let message = "The continuation token provided is incorrect.";
    let refusal = s3::Refusal::with(ErrorCode::InvalidArgument, message);
    refusal.element("ArgumentName", "continuation-token").element("ArgumentValue", token).into()
}
