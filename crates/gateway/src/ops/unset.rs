//! Settings of buckets and objects that this server does not have: reading them answers as S3 does for one
//! that never set them, because tools ask on every bucket. Writing them is 501, by the router.

use std::sync::Arc;

use iam::Permit;
use s3::ErrorCode;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::listed;
use crate::Gateway;
use crate::authorize::{OWNER_ID, OWNER_NAME};
use crate::context::Request;
use crate::respond;
use crate::route::{Operation, Outcome, Route, Run};

const fn of_bucket(name: &'static str, selector: &'static str, action: &'static str, run: Run) -> Operation {
    Operation { name, route: Route::bucket("GET").query(selector), action, change: None, run }
}

const fn of_object(name: &'static str, selector: &'static str, action: &'static str, run: Run) -> Operation {
    Operation { name, route: Route::object("GET").query(selector), action, change: None, run }
}

/// A bucket has an access control list, which lets its owner do everything.
pub(crate) const GET_BUCKET_ACL: Operation =
    of_bucket("GetBucketAcl", "acl", "s3:GetBucketAcl", |request, _, gateway| {
        Box::pin(async move { bucket_with(request, gateway, acl()) })
    });

/// An object has the list of its bucket.
pub(crate) const GET_OBJECT_ACL: Operation =
    of_object("GetObjectAcl", "acl", "s3:GetObjectAcl", |request, permit, gateway| {
        Box::pin(object_with(request, permit, gateway, acl()))
    });

/// No object has tags.
pub(crate) const GET_OBJECT_TAGGING: Operation =
    of_object("GetObjectTagging", "tagging", "s3:GetObjectTagging", |request, permit, gateway| {
        let mut writer = Writer::s3_document("Tagging");
        writer.open("TagSet");
        Box::pin(object_with(request, permit, gateway, writer.finish()))
    });

/// No bucket has versioning.
pub(crate) const GET_BUCKET_VERSIONING: Operation =
    of_bucket("GetBucketVersioning", "versioning", "s3:GetBucketVersioning", |request, _, gateway| {
        Box::pin(async move {
            bucket_with(request, gateway, Writer::s3_document("VersioningConfiguration").finish())
        })
    });

/// Transfers are not accelerated.
pub(crate) const GET_BUCKET_ACCELERATE: Operation = of_bucket(
    "GetBucketAccelerateConfiguration",
    "accelerate",
    "s3:GetAccelerateConfiguration",
    |request, _, gateway| {
        Box::pin(async move {
            bucket_with(request, gateway, Writer::s3_document("AccelerateConfiguration").finish())
        })
    },
);

/// The owner pays.
pub(crate) const GET_BUCKET_REQUEST_PAYMENT: Operation = of_bucket(
    "GetBucketRequestPayment",
    "requestPayment",
    "s3:GetBucketRequestPayment",
    |request, _, gateway| {
        let mut writer = Writer::s3_document("RequestPaymentConfiguration");
        writer.text("Payer", "BucketOwner");
        Box::pin(async move { bucket_with(request, gateway, writer.finish()) })
    },
);

/// No bucket logs.
pub(crate) const GET_BUCKET_LOGGING: Operation =
    of_bucket("GetBucketLogging", "logging", "s3:GetBucketLogging", |request, _, gateway| {
        Box::pin(
            async move { bucket_with(request, gateway, Writer::s3_document("BucketLoggingStatus").finish()) },
        )
    });

/// No bucket is public.
pub(crate) const GET_BUCKET_POLICY_STATUS: Operation =
    of_bucket("GetBucketPolicyStatus", "policyStatus", "s3:GetBucketPolicyStatus", |request, _, gateway| {
        let mut writer = Writer::s3_document("PolicyStatus");
        writer.value("IsPublic", false);
        Box::pin(async move { bucket_with(request, gateway, writer.finish()) })
    });

/// The documents no bucket has: their operation, and the code that says so.
macro_rules! absent {
    ($($constant:ident $name:literal $selector:literal $action:literal $code:ident;)*) => {
        $(
            /// No bucket has this document.
            pub(crate) const $constant: Operation = of_bucket($name, $selector, $action, |request, _, gateway| {
                Box::pin(async move {
                    gateway.setup.store.bucket(request.bucket())?;
                    Err(ErrorCode::$code.into())
                })
            });
        )*
    };
}

absent! {
    GET_BUCKET_POLICY "GetBucketPolicy" "policy" "s3:GetBucketPolicy" NoSuchBucketPolicy;
    GET_BUCKET_TAGGING "GetBucketTagging" "tagging" "s3:GetBucketTagging" NoSuchTagSet;
    GET_BUCKET_LIFECYCLE "GetBucketLifecycleConfiguration" "lifecycle" "s3:GetLifecycleConfiguration" NoSuchLifecycleConfiguration;
    GET_BUCKET_ENCRYPTION "GetBucketEncryption" "encryption" "s3:GetEncryptionConfiguration" ServerSideEncryptionConfigurationNotFoundError;
    GET_OBJECT_LOCK "GetObjectLockConfiguration" "object-lock" "s3:GetBucketObjectLockConfiguration" ObjectLockConfigurationNotFoundError;
    GET_BUCKET_REPLICATION "GetBucketReplication" "replication" "s3:GetReplicationConfiguration" ReplicationConfigurationNotFoundError;
    GET_BUCKET_WEBSITE "GetBucketWebsite" "website" "s3:GetBucketWebsite" NoSuchWebsiteConfiguration;
    GET_BUCKET_CORS "GetBucketCors" "cors" "s3:GetBucketCORS" NoSuchCORSConfiguration;
    GET_PUBLIC_ACCESS_BLOCK "GetPublicAccessBlock" "publicAccessBlock" "s3:GetBucketPublicAccessBlock" NoSuchPublicAccessBlockConfiguration;
    GET_OWNERSHIP_CONTROLS "GetBucketOwnershipControls" "ownershipControls" "s3:GetBucketOwnershipControls" OwnershipControlsNotFoundError;
}

fn bucket_with(request: &Request, gateway: &Gateway, document: String) -> Outcome {
    gateway.setup.store.bucket(request.bucket())?;
    Ok(respond::xml(document))
}

async fn object_with(
    request: &Request,
    _permit: Permit,
    gateway: &Arc<Gateway>,
    document: String,
) -> Outcome {
    gateway.setup.store.object(request.bucket(), request.key(), request.version()?).await?;
    Ok(respond::xml(document))
}

/// The list that lets the owner do everything, and nobody else anything.
fn acl() -> String {
    let mut writer = Writer::s3_document("AccessControlPolicy");
    listed::owner(&mut writer, "Owner");
    writer.open("AccessControlList");
    writer.open("Grant");
    let attributes =
        [("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"), ("xsi:type", "CanonicalUser")];
    writer.open_with("Grantee", &attributes);
    writer.text("ID", OWNER_ID);
    writer.text("DisplayName", OWNER_NAME);
    writer.close();
    writer.text("Permission", "FULL_CONTROL");
    writer.finish()
}
