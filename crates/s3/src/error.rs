//! The S3 error codes, what a refused request carries, and the documents that tell it.
//!
//! One row per code: the name a client matches on, the HTTP status, the message when nothing better
//! is known. Codes that begin with `XMinio` are MinIO's; `mc` and its libraries match on them.
//!
//! What is not here: which error of the store becomes which code; the gateway decides that.

use std::borrow::Cow;
use std::fmt;

use crate::xml;

/// What is fixed about one error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The text of the `Code` element.
    pub name: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// The text of the `Message` element when the situation has no better one.
    pub message: &'static str,
}

macro_rules! error_codes {
    (@name $code:ident) => { stringify!($code) };
    (@name $code:ident $name:literal) => { $name };
    ($($code:ident $(= $name:literal)? $status:literal $message:literal)*) => {
        /// A code of the S3 error table. The variants are named as the client sees them.
        #[allow(missing_docs, reason = "each variant is its own name and its row says the rest")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($code),* }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$code),*];

            /// Name, status and default message of this code.
            #[allow(clippy::too_many_lines, reason = "one line per row of the table")]
            pub const fn row(self) -> Row {
                match self {
                    $(ErrorCode::$code => Row {
                        name: error_codes!(@name $code $($name)?),
                        status: $status,
                        message: $message,
                    }),*
                }
            }
        }
    };
}

error_codes! {
    AccessDenied 403 "Access Denied."
    AccessForbidden 403
        "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of \
         Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not \
         whitelisted by the resource's CORS spec."
    AllAccessDisabled 403 "All access to this resource has been disabled."
    AuthorizationHeaderMalformed 400 "The authorization header that you provided is not valid."
    AuthorizationParametersError 400
        "Error parsing the Credential/X-Amz-Credential parameter; incorrect service. This endpoint \
         belongs to \"s3\"."
    AuthorizationQueryParametersError 400
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
         X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
    BadDigest 400
        "The Content-MD5 or checksum value that you specified did not match what the server received."
    BadRequest 400 "The request is malformed."
    BucketAlreadyExists 409
        "The requested bucket name is not available. The bucket namespace is shared by all users of the \
         system. Please select a different name and try again."
    BucketAlreadyOwnedByYou 409
        "Your previous request to create the named bucket succeeded and you already own it."
    BucketNotEmpty 409 "The bucket you tried to delete is not empty."
    ConditionalRequestConflict 409
        "The conditional request cannot succeed due to a conflicting operation against this resource. \
         Please try again."
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size."
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size."
    ExcessData 400 "More data was provided than the request announced."
    ExpiredToken 400 "The provided token has expired."
    IllegalVersioningConfigurationException 400
        "The versioning configuration specified in the request is invalid."
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header."
    InternalError 500 "We encountered an internal error. Please try again."
    InvalidAccessKeyId 403 "The Access Key Id you provided does not exist in our records."
    InvalidArgument 400 "Invalid argument."
    InvalidBucketAclWithObjectOwnership 400
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting."
    InvalidBucketName 400 "The specified bucket is not valid."
    InvalidBucketState 409 "The request is not valid for the current state of the bucket."
    InvalidDigest 400 "The Content-MD5 you specified is not valid."
    InvalidLocationConstraint 400 "The specified location constraint is not valid."
    InvalidObjectState 403 "The operation is not valid for the current state of the object."
    InvalidPart 400
        "One or more of the specified parts could not be found. The part might not have been uploaded, or \
         the specified entity tag might not have matched the part's entity tag."
    InvalidPartNumber 416 "The requested partnumber is not satisfiable."
    InvalidPartOrder 400
        "The list of parts was not in ascending order. The parts list must be specified in order by part \
         number."
    InvalidPolicyDocument 400
        "The content of the form does not meet the conditions specified in the policy document."
    InvalidRange 416 "The requested range is not satisfiable."
    InvalidRegion 400 "Region does not match."
    InvalidRequest 400 "Invalid request."
    InvalidRetentionPeriod 400 "The retention period must be a positive number."
    InvalidStorageClass 400 "The storage class you specified is not valid."
    InvalidTag 400 "The tag provided was not a valid tag."
    InvalidToken 400 "The provided token is malformed or otherwise not valid."
    InvalidTokenId 403 "The security token included in the request is invalid."
    InvalidURI 400 "Couldn't parse the specified URI."
    KeyTooLongError 400 "Your key is too long."
    KmsNotFoundException = "KMS.NotFoundException" 400 "The specified KMS key does not exist."
    MalformedACLError 400
        "The XML you provided was not well-formed or did not validate against our published schema."
    MalformedDate 400
        "Invalid date format header, expected to be in ISO8601, RFC1123 or RFC1123Z time format."
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data."
    MalformedPolicy 400 "Policy has invalid resource."
    MalformedTrailerError 400
        "The request contained trailing data that was not well-formed or did not conform to our published \
         schema."
    MalformedXML 400
        "The XML you provided was not well-formed or did not validate against our published schema."
    MaxMessageLengthExceeded 400 "Your request was too big."
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size."
    MethodNotAllowed 405 "The specified method is not allowed against this resource."
    MissingContentLength 411 "You must provide the Content-Length HTTP header."
    MissingContentMD5 400 "Missing required header for this request: Content-MD5."
    MissingRequestBodyError 411 "Request body is empty."
    MissingSecurityHeader 400 "Your request was missing a required header."
    NoSuchBucket 404 "The specified bucket does not exist."
    NoSuchBucketPolicy 404 "The bucket policy does not exist."
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist."
    NoSuchKey 404 "The specified key does not exist."
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist."
    NoSuchObjectLockConfiguration 404 "The specified object does not have an ObjectLock configuration."
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found."
    NoSuchTagSet 404 "The TagSet does not exist."
    NoSuchUpload 404
        "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may \
         have been aborted or completed."
    NoSuchVersion 404 "The specified version does not exist."
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration."
    NotImplemented 501 "A header you provided implies functionality that is not implemented."
    NotModified 304 "Not Modified."
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket."
    OperationAborted 409
        "A conflicting conditional operation is currently in progress against this resource. Try again."
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found."
    PermanentRedirect 301
        "The bucket you are attempting to access must be addressed using the specified endpoint. Please \
         send all future requests to this endpoint."
    PreconditionFailed 412 "At least one of the preconditions you specified did not hold."
    QuotaExceeded 403 "The bucket's quota is exceeded."
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found."
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large."
    RequestTimeout 400
        "Your socket connection to the server was not read from or written to within the timeout period."
    RestoreAlreadyInProgress 409 "Object restore is already in progress."
    ServerSideEncryptionConfigurationNotFoundError 404
        "The server side encryption configuration was not found."
    ServiceUnavailable 503 "Please reduce your request rate."
    SignatureDoesNotMatch 403
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method."
    SlowDown 503 "Please reduce your request rate."
    SlowDownRead 503 "Resource requested is unreadable, please reduce your request rate."
    SlowDownWrite 503 "Resource requested is unwritable, please reduce your request rate."
    TemporaryRedirect 307 "You are being redirected to the bucket while DNS updates."
    TooManyBuckets 400 "You have attempted to create more buckets than allowed."
    UnexpectedContent 400 "This request does not support content."
    UnresolvableGrantByEmailAddress 400 "The email address you provided does not match any account on record."
    UnsupportedNotification 400 "This server does not support Topic or Cloud Function based notifications."
    UnsupportedSignature 400
        "The provided request is signed with an unsupported STS Token version or the signature version is \
         not supported."
    UserKeyMustBeSpecified 400
        "The bucket POST must contain the specified field name. If it is specified, check the order of \
         the fields."
    XAmzContentChecksumMismatch 400 "The provided 'x-amz-checksum' header does not match what was computed."
    XAmzContentSHA256Mismatch 400
        "The provided 'x-amz-content-sha256' header does not match what was computed."
    XMinioAdminBucketQuotaExceeded 400 "Bucket quota exceeded."
    XMinioAdminConfigBadJSON 400 "The configuration provided is incorrect."
    XMinioAdminConfigDuplicateKeys 400 "JSON configuration provided has objects with duplicate keys."
    XMinioAdminConfigEnvOverridden 400
        "Unable to update config via Admin API due to environment variable override."
    XMinioAdminConfigLDAPValidation 400 "LDAP configuration validation failed."
    XMinioAdminConfigNoQuorum 503 "Configuration update failed because server quorum was not met."
    XMinioAdminConfigTooLarge 400 "Configuration data provided exceeds the allowed maximum of 262144 bytes."
    XMinioAdminGroupDisabled 400 "The specified group is disabled."
    XMinioAdminGroupNotEmpty 400 "The specified group is not empty - cannot remove it."
    XMinioAdminInvalidAccessKey 400 "The access key is invalid."
    XMinioAdminInvalidArgument 400 "Invalid arguments specified."
    XMinioAdminInvalidSecretKey 400 "The secret key is invalid."
    XMinioAdminNoAccessKey 400 "No access key was provided."
    XMinioAdminNoSecretKey 400 "No secret key was provided."
    XMinioAdminNoSuchAccessKey 404 "The specified access key does not exist."
    XMinioAdminNoSuchConfigTarget 400 "No such named configuration target exists."
    XMinioAdminNoSuchGroup 404 "The specified group does not exist."
    XMinioAdminNoSuchPolicy 404 "The canned policy does not exist."
    XMinioAdminNoSuchUser 404 "The specified user does not exist."
    XMinioAdminPolicyChangeAlreadyApplied 400 "The specified policy change is already in effect."
    XMinioAdminRebalanceNotStarted 404 "Pool rebalance is not started."
    XMinioAdminVersionMismatch 426 "This API version is not supported by this server."
    XMinioConfigError 400 "Configuration error."
    XMinioConfigNotFoundError 404 "Configuration not found."
    XMinioHealAlreadyRunning 400 "A heal of this path runs already."
    XMinioHealInvalidClientToken 400 "The token is not that of the heal of this path."
    XMinioHealNoSuchProcess 400 "No heal of this path is known."
    XMinioHealOverlappingPaths 400 "The path overlaps with that of a heal that runs."
    XMinioIAMActionNotAllowed 403 "The action is not allowed."
    XMinioIAMNotInitialized 503 "The identity system is not initialized, please try again."
    XMinioInvalidIAMCredentials 400 "The specified credentials are not valid for this operation."
    XMinioInvalidObjectName 400 "Object name contains unsupported characters."
    XMinioInvalidResourceName 400 "Resource name contains bad components such as \"..\" or \".\"."
    XMinioLDAPNotEnabled 400 "LDAP is not enabled."
    XMinioMalformedJSON 400
        "The JSON you provided was not well-formed or did not validate against our published format."
    XMinioObjectExistsAsDirectory 400 "Object name already exists as a directory."
    XMinioPolicyAlreadyAttached 400 "The specified policy is already attached."
    XMinioPolicyNotAttached 400 "The specified policy is not attached."
    XMinioServerNotInitialized 503 "Server not initialized yet, please try again."
    XMinioStorageFull 507
        "Storage backend has reached its minimum free drive threshold. Please delete a few objects to \
         proceed."
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.row().name)
    }
}

/// Why a request is refused: everything its answer says beyond where it was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code a client matches on.
    pub code: ErrorCode,
    /// The HTTP status; that of the code's row but for the few situations where clients expect another.
    pub status: u16,
    /// What the client reads.
    pub message: Cow<'static, str>,
    /// Further elements of the answer, by name, in the order written (`Region`, `StringToSign`, …).
    pub elements: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal with the status and the message of the code's row.
    pub fn new(code: ErrorCode) -> Refusal {
        Refusal::with(code, code.row().message)
    }

    /// A refusal that says what exactly is wrong.
    pub fn with(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, status: code.row().status, message: message.into(), elements: Vec::new() }
    }

    /// The same refusal with one more element in its answer.
    #[must_use]
    pub fn element(mut self, name: &'static str, value: impl Into<String>) -> Refusal {
        self.elements.push((name, value.into()));
        self
    }

    /// The same refusal under another HTTP status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Refusal {
        self.status = status;
        self
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal::new(code)
    }
}

/// The answer to a refused request, ready to be written.
///
/// The elements come in MinIO's order: `Code Message Key BucketName Resource Region RequestId
/// HostId`, then what the situation adds (`ActualObjectSize`, `StringToSign`, …).
#[derive(Debug, Clone)]
pub struct ErrorBody<'a> {
    /// What was refused and why.
    pub refusal: &'a Refusal,
    /// The object key of the request, left out when there is none.
    pub key: Option<&'a str>,
    /// The bucket of the request, left out when there is none.
    pub bucket: Option<&'a str>,
    /// The decoded path of the request.
    pub resource: &'a str,
    /// The configured region, left out when empty; a `Region` among the refusal's elements wins.
    pub region: &'a str,
    /// Equal to the `x-amz-request-id` header of the same answer.
    pub request_id: &'a str,
    /// Equal to the `x-amz-id-2` header of the same answer.
    pub host_id: &'a str,
}

impl ErrorBody<'_> {
    /// The XML document of S3 errors: UTF-8, with a declaration, without a namespace.
    pub fn to_xml(&self) -> String {
        let mut writer = xml::Writer::document("Error");
        for (name, value) in self.members() {
            writer.text(name, value);
        }
        writer.finish()
    }

    /// The JSON object of admin errors, with the same members in the same order.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (index, (name, value)) in self.members().into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_json_string(&mut out, name);
            out.push(':');
            push_json_string(&mut out, value);
        }
        out.push('}');
        out
    }

    fn members(&self) -> Vec<(&'static str, &str)> {
        let own_region = self.refusal.elements.iter().find(|(name, _)| *name == "Region");
        let region = own_region.map_or(self.region, |(_, region)| region.as_str());
        let mut members = vec![("Code", self.refusal.code.row().name), ("Message", &*self.refusal.message)];
        members.extend(self.key.map(|key| ("Key", key)));
        members.extend(self.bucket.map(|bucket| ("BucketName", bucket)));
        members.push(("Resource", self.resource));
        if !region.is_empty() {
            members.push(("Region", region));
        }
        members.push(("RequestId", self.request_id));
        members.push(("HostId", self.host_id));
        let extras = self.refusal.elements.iter().filter(|(name, _)| *name != "Region");
        members.extend(extras.map(|(name, value)| (*name, value.as_str())));
        members
    }
}

fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                use fmt::Write as _;
                write!(out, "\\u{:04x}", u32::from(control)).expect("writing to a string succeeds");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ErrorBody, ErrorCode, Refusal};

    #[test]
    fn every_code_has_a_name_of_its_own_an_error_status_and_a_message() {
        let mut names = HashSet::new();
        for code in ErrorCode::ALL {
            let row = code.row();
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!((300..600).contains(&row.status), "{} has status {}", row.name, row.status);
            assert!(row.message.ends_with('.'), "{} has no sentence", row.name);
        }
    }

    #[test]
    fn a_code_may_have_a_name_that_is_no_identifier() {
        assert_eq!(ErrorCode::KmsNotFoundException.to_string(), "KMS.NotFoundException");
    }

    fn body<'a>(refusal: &'a Refusal, region: &'a str) -> ErrorBody<'a> {
        ErrorBody {
            refusal,
            key: Some("a&b"),
            bucket: Some("b"),
            resource: "/b/a&b",
            region,
            request_id: "18E9FDBC9F5AD436",
            host_id: "797f",
        }
    }

    #[test]
    fn the_xml_has_the_elements_in_order_and_escaped() {
        let refusal = Refusal::new(ErrorCode::InvalidRange).element("ActualObjectSize", "10");

        assert_eq!(
            body(&refusal, "").to_xml(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidRange</Code>\
             <Message>The requested range is not satisfiable.</Message><Key>a&amp;b</Key>\
             <BucketName>b</BucketName><Resource>/b/a&amp;b</Resource>\
             <RequestId>18E9FDBC9F5AD436</RequestId><HostId>797f</HostId>\
             <ActualObjectSize>10</ActualObjectSize></Error>"
        );
    }

    #[test]
    fn the_region_of_the_refusal_wins_and_stands_in_its_place() {
        let refusal = Refusal::new(ErrorCode::AuthorizationHeaderMalformed).element("Region", "eu-north-1");

        let document = body(&refusal, "us-east-1").to_xml();

        assert!(document.contains("</Resource><Region>eu-north-1</Region><RequestId>"), "{document}");
        assert_eq!(document.matches("<Region>").count(), 1);
    }

    #[test]
    fn the_json_form_escapes_what_json_must() {
        let refusal = Refusal::with(ErrorCode::XMinioConfigError, "a \"b\"\\\n\u{1}");

        assert_eq!(
            body(&refusal, "").to_json(),
            "{\"Code\":\"XMinioConfigError\",\"Message\":\"a \\\"b\\\"\\\\\\n\\u0001\",\"Key\":\"a&b\",\
             \"BucketName\":\"b\",\"Resource\":\"/b/a&b\",\"RequestId\":\"18E9FDBC9F5AD436\",\"HostId\":\"797f\"}"
        );
    }
}
