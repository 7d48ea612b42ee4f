//! XML as S3 speaks it: a writer for answers, a bounded reader for bodies, one file per document.
//!
//! Reading ignores namespaces, attributes, comments and unknown elements, and refuses a document
//! type declaration, so no entity can expand. Writing escapes by S3's rules and keeps every key
//! readable.
//!
//! What is not here: the answers themselves; each operation of the gateway writes its own.

mod complete_multipart_upload;
mod create_bucket;
mod delete;
mod notification;
mod tree;
mod writer;

pub use complete_multipart_upload::{CompleteMultipartUpload, CompletedPart};
pub use create_bucket::CreateBucketConfiguration;
pub use delete::{Delete, DeleteEntry};
pub use notification::{FilterRule, NotificationConfiguration, NotificationKind, NotificationRule};
pub use tree::{BODY_BYTES_MAX, Element};
pub use writer::{KeyEncoding, NAMESPACE, Writer};
