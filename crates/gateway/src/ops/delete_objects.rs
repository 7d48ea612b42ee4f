//! DeleteObjects: up to a thousand objects with one request, each with its own answer.

use std::sync::Arc;

use iam::Permit;
use s3::xml::{Delete, DeleteEntry, Writer};
use s3::{ErrorCode, Refusal};
use store::object::DeleteObject;
use store::{ChangeKind, EntityMatch, ObjectKey, WriteCondition};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::{Request, parse_version};
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// DeleteObjects. S3 API reference, "DeleteObjects".
pub(crate) const OPERATION: Operation = Operation {
    name: "DeleteObjects",
    route: Route::bucket("POST").query("delete"),
    action: "s3:DeleteObject",
    change: Some(ChangeKind::Delete),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    gateway.setup.store.bucket(request.bucket())?;
    let document = request.body.document(&request.head.headers, Delete::BODY_BYTES_MAX).await?;
    if !document.is_checked {
        return Err(ErrorCode::MissingContentMD5.into());
    }
    let asked = Delete::parse(&document.bytes)?;
    let mut answers: Vec<Result<(), Refusal>> = Vec::with_capacity(asked.objects.len());
    let mut deletes = Vec::with_capacity(asked.objects.len());
    for entry in &asked.objects {
        match delete_of(entry) {
            Ok(delete) => {
                deletes.push(delete);
                answers.push(Ok(()));
            }
            Err(failure) => answers.push(Err(failure.refusal)),
        }
    }

    // Records tell the length of the answer; when nothing fails this is it.
    let length = answer(&asked, &answers).len() as u64;
    let (bucket, origin) = (request.bucket().clone(), request.origin(gateway, Some(length)));
    let store = Arc::clone(&gateway.setup.store);
    let done =
        gateway.to_the_end(async move { store.delete_objects(&bucket, deletes, origin).await }).await?;
    for (answer, done) in answers.iter_mut().filter(|answer| answer.is_ok()).zip(done) {
        if let Err(error) = done {
            *answer = Err(Failure::from(error).refusal);
        }
    }
    Ok(respond::xml(answer(&asked, &answers)))
}

fn delete_of(entry: &DeleteEntry) -> Result<DeleteObject, Failure> {
    s3::address::check_key(&entry.key)?;
    let key = ObjectKey::new(&entry.key).ok_or(ErrorCode::XMinioInvalidObjectName)?;
    let version = entry.version_id.as_deref().map(parse_version).transpose();
    let version = version.map_err(|_| Failure::from(ErrorCode::NoSuchVersion))?;
    let tag = |tag: &String| match tag.as_str() {
        "*" => EntityMatch::Any,
        tag => EntityMatch::OneOf(vec![tag.to_owned()]),
    };
    let condition = WriteCondition {
        if_match: entry.etag.as_ref().map(tag),
        if_none_match: None,
        if_size_bytes: entry.size_bytes,
        // A date before 1970 is no object's: it matches none.
        if_modified_s: entry.last_modified_s.map(|seconds| u64::try_from(seconds).unwrap_or(u64::MAX)),
    };
    Ok(DeleteObject { key, version, condition })
}

fn answer(asked: &Delete, answers: &[Result<(), Refusal>]) -> String {
    let mut writer = Writer::s3_document("DeleteResult");
    for (entry, answer) in asked.objects.iter().zip(answers) {
        match answer {
            Ok(()) if asked.quiet => {}
            Ok(()) => {
                writer.open("Deleted");
                writer.text("Key", &entry.key);
                writer.optional("VersionId", entry.version_id.as_deref());
                writer.close();
            }
            Err(refusal) => {
                writer.open("Error");
                writer.text("Key", &entry.key);
                writer.optional("VersionId", entry.version_id.as_deref());
                writer.text("Code", refusal.code.row().name);
                writer.text("Message", &refusal.message);
                writer.close();
            }
        }
    }
    writer.finish()
}
