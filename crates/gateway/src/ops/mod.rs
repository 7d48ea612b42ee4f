//! The S3 operations, one file each: how it is recognised, the permission it needs, the change it causes, what
//! it does.

mod abort_multipart_upload;
mod complete_multipart_upload;
mod copy;
mod copy_object;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_bucket_notification;
mod delete_object;
mod delete_objects;
mod get_bucket_location;
mod get_bucket_notification;
mod get_object;
mod head_bucket;
mod head_object;
mod list_buckets;
mod list_multipart_uploads;
mod list_object_versions;
mod list_objects;
mod list_objects_v2;
mod list_parts;
mod listed;
mod listen;
mod put_bucket_notification;
mod put_object;
mod read;
mod unset;
mod upload;
mod upload_part;
mod upload_part_copy;

use crate::context::Request;
use crate::error::Failure;
use crate::route::Operation;

/// Every operation. A row that a header selects stands before the one without it.
pub(crate) const OPERATIONS: &[&Operation] = &[
    &list_buckets::OPERATION,
    &listen::OF_ALL,
    &create_bucket::OPERATION,
    &head_bucket::OPERATION,
    &delete_bucket::OPERATION,
    &get_bucket_location::OPERATION,
    &list_objects::OPERATION,
    &list_objects_v2::OPERATION,
    &list_object_versions::OPERATION,
    &delete_objects::OPERATION,
    &get_bucket_notification::OPERATION,
    &put_bucket_notification::OPERATION,
    &delete_bucket_notification::OPERATION,
    &listen::OF_BUCKET,
    &list_multipart_uploads::OPERATION,
    &get_object::OPERATION,
    &head_object::OPERATION,
    &copy_object::OPERATION,
    &put_object::OPERATION,
    &delete_object::OPERATION,
    &create_multipart_upload::OPERATION,
    &upload_part_copy::OPERATION,
    &upload_part::OPERATION,
    &list_parts::OPERATION,
    &complete_multipart_upload::OPERATION,
    &abort_multipart_upload::OPERATION,
    &unset::GET_BUCKET_ACL,
    &unset::GET_BUCKET_VERSIONING,
    &unset::GET_BUCKET_ACCELERATE,
    &unset::GET_BUCKET_REQUEST_PAYMENT,
    &unset::GET_BUCKET_LOGGING,
    &unset::GET_BUCKET_POLICY_STATUS,
    &unset::GET_BUCKET_POLICY,
    &unset::GET_BUCKET_TAGGING,
    &unset::GET_BUCKET_LIFECYCLE,
    &unset::GET_BUCKET_ENCRYPTION,
    &unset::GET_OBJECT_LOCK,
    &unset::GET_BUCKET_REPLICATION,
    &unset::GET_BUCKET_WEBSITE,
    &unset::GET_BUCKET_CORS,
    &unset::GET_PUBLIC_ACCESS_BLOCK,
    &unset::GET_OWNERSHIP_CONTROLS,
    &unset::GET_OBJECT_ACL,
    &unset::GET_OBJECT_TAGGING,
];

/// Largest part number. S3 user guide, "Multipart upload limits".
const PART_NUMBER_MAX: u32 = 10_000;

/// The part number a request names.
///
/// # Errors
///
/// `InvalidArgument` when it is no number from 1 to 10,000.
fn part_number(request: &Request) -> Result<u32, Failure> {
    let text = request.query("partNumber").unwrap_or_default();
    let refuse = || {
        let message = format!("Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive.");
        Failure::argument("partNumber", text, message)
    };
    text.parse().ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number)).ok_or_else(refuse)
}
