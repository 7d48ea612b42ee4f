//! Signature version 2: the `Authorization: AWS …` header and the presigned URL with `AWSAccessKeyId`.
//!
//! It is old, covers no body, and is what boto3 and the AWS command line still make of a presigned URL for
//! us-east-1, so a store that refuses it breaks their users. An HMAC-SHA1 over method, two headers, the
//! date, every `x-amz-*` header and the resource.
//!
//! Source: S3 user guide, "Signing and authenticating REST requests (signature version 2)".
//!
//! What is not here: credentials that expire (a token is refused by whoever knows that there are none).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::error::{ErrorCode, Refusal};
use crate::percent;
use crate::sigv4::{Request, SKEW_SECONDS_MAX};
use crate::time;

/// Query keys that are part of the signed resource.
const SUB_RESOURCES: [&str; 38] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Sub-resources that botocore does not sign.
const UNSIGNED_BY_BOTOCORE: [&str; 3] = ["encryption", "legal-hold", "retention"];

/// Sub-resources that MinIO's libraries do not sign.
const UNSIGNED_BY_MINIO: [&str; 10] = [
    "accelerate",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "inventory",
    "metrics",
    "object-lock",
    "replication",
    "restore",
    "storageClass",
];

/// A request that carries a signature of version 2, read and not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Whose key signed.
    pub access_key: String,
    /// Whether the signature is in the query: a presigned URL.
    pub is_presigned: bool,
    signature: String,
    /// What stands in the date's line: the `Date` header, nothing, or the expiry of a URL.
    date_line: String,
}

impl Signed {
    /// Reads the `Authorization` header and checks the date against `now_s`, seconds since 1970.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the header is not `AWS key:signature`; `AccessDenied` without a date that can
    /// be read; `RequestTimeTooSkewed`.
    pub fn from_header(request: &Request<'_>, now_s: i64) -> Result<Signed, Refusal> {
        let malformed = || {
            Refusal::with(ErrorCode::InvalidArgument, "The Authorization header must be AWS key:signature.")
        };
        let text = request.headers.text("authorization").ok_or_else(malformed)?;
        let credentials = text.strip_prefix("AWS ").ok_or_else(malformed)?;
        let (access_key, signature) = credentials.trim().rsplit_once(':').ok_or_else(malformed)?;
        let amz_date = request.headers.text("x-amz-date");
        let date = amz_date.or_else(|| request.headers.text("date"));
        let no_date = || {
            Refusal::with(
                ErrorCode::AccessDenied,
                "AWS authentication requires a valid Date or x-amz-date header.",
            )
        };
        let signed_at_s =
            date.and_then(|text| time::parse_http_date(text).or_else(|| time::parse_amz_date(text)));
        let signed_at_s = signed_at_s.filter(|&seconds| seconds >= 0).ok_or_else(no_date)?;
        if (now_s - signed_at_s).abs() > SKEW_SECONDS_MAX {
            return Err(Refusal::new(ErrorCode::RequestTimeTooSkewed));
        }
        let date_line = if amz_date.is_some() { "" } else { date.unwrap_or_default() };
        Ok(Signed {
            access_key: access_key.to_owned(),
            is_presigned: false,
            signature: signature.to_owned(),
            date_line: date_line.to_owned(),
        })
    }

    /// Reads the query of a presigned URL and checks its expiry against `now_s`, seconds since 1970.
    ///
    /// # Errors
    ///
    /// `AccessDenied` when a parameter is missing, when `Expires` is no number of seconds since 1970, and when
    /// it is over.
    pub fn from_query(request: &Request<'_>, now_s: i64) -> Result<Signed, Refusal> {
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in percent::query_pairs(request.query)? {
            parameters.entry(name).or_insert(value);
        }
        let mut take = |name: &str| {
            let message = format!("A presigned URL of signature version 2 needs {name}.");
            parameters.remove(name).ok_or_else(|| Refusal::with(ErrorCode::AccessDenied, message))
        };
        let (access_key, expires) = (take("AWSAccessKeyId")?, take("Expires")?);
        // Some clients leave the plus signs of base64 as they are, which a query reads as blanks.
        let signature = take("Signature")?.replace(' ', "+");
        let expires_s: i64 = expires.parse().map_err(|_| {
            Refusal::with(ErrorCode::AccessDenied, "Invalid date (should be seconds since epoch): Expires.")
        })?;
        if expires_s < now_s {
            return Err(Refusal::with(ErrorCode::AccessDenied, "Request has expired.")
                .element("Expires", time::iso8601_ms(expires_s.saturating_mul(1000)))
                .element("ServerTime", time::iso8601_ms(now_s.saturating_mul(1000))));
        }
        Ok(Signed { access_key, is_presigned: true, signature, date_line: expires })
    }

    /// Compares the signature with that of `request` under `secret`, in constant time.
    ///
    /// `bucket` is the bucket that the host names in virtual-host style, for the path does not. Clients do not
    /// agree which query keys are signed, nor whether a slash follows a bucket (botocore signs one that it
    /// does not send), so the few forms there are are tried.
    ///
    /// # Errors
    ///
    /// `SignatureDoesNotMatch` with the string to sign; `InvalidURI` when the query is not decodable.
    pub fn verify(&self, request: &Request<'_>, bucket: Option<&str>, secret: &str) -> Result<(), Refusal> {
        let sent = STANDARD.decode(&self.signature).unwrap_or_default();
        let bucket = bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
        let resource = format!("{bucket}{}", request.path);
        let with_slash = format!("{resource}/");
        let is_bucket = bucket.is_empty() && request.path.matches('/').count() == 1;
        let forms = [Some(&resource), Some(&with_slash).filter(|_| is_bucket)];
        for resource in forms.into_iter().flatten() {
            for unsigned in [&[][..], &UNSIGNED_BY_BOTOCORE, &UNSIGNED_BY_MINIO] {
                let text = self.string_to_sign(request, resource, unsigned)?;
                if keyed(secret, &text).verify_slice(&sent).is_ok() {
                    return Ok(());
                }
            }
        }
        Err(Refusal::new(ErrorCode::SignatureDoesNotMatch)
            .element("AWSAccessKeyId", self.access_key.as_str())
            .element("StringToSign", self.string_to_sign(request, &resource, &[])?)
            .element("SignatureProvided", self.signature.as_str()))
    }

    fn string_to_sign(
        &self,
        request: &Request<'_>,
        resource: &str,
        unsigned: &[&str],
    ) -> Result<String, Refusal> {
        let header = |name| request.headers.text(name).unwrap_or_default();
        Ok(format!(
            "{}\n{}\n{}\n{}\n{}{resource}{}",
            request.method,
            header("content-md5"),
            header("content-type"),
            self.date_line,
            amz_headers(request),
            sub_resources(request.query, unsigned)?,
        ))
    }
}

/// Signs a string as version 2 does; base64.
pub fn sign(secret: &str, string_to_sign: &str) -> String {
    STANDARD.encode(keyed(secret, string_to_sign).finalize().into_bytes())
}

fn keyed(secret: &str, text: &str) -> Hmac<Sha1> {
    let key = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("an HMAC takes a key of any length");
    key.chain_update(text)
}

/// `name:value` of every `x-amz-*` header, a line each, by name; repeated ones joined by commas.
fn amz_headers(request: &Request<'_>) -> String {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    request.headers.for_each(&mut |name, value| {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") {
            return;
        }
        let value = String::from_utf8_lossy(value).trim().to_owned();
        lines.entry(name).and_modify(|line| *line = format!("{line},{value}")).or_insert(value);
    });
    lines.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect()
}

/// `?name=value&name` of the signed query keys, by name, values decoded.
fn sub_resources(query: &str, unsigned: &[&str]) -> Result<String, Refusal> {
    let mut signed: Vec<(String, String)> = percent::query_pairs(query)?
        .into_iter()
        .filter(|(name, _)| SUB_RESOURCES.contains(&name.as_str()) && !unsigned.contains(&name.as_str()))
        .collect();
    signed.sort();
    let shown: Vec<String> = signed
        .into_iter()
        .map(|(name, value)| if value.is_empty() { name } else { format!("{name}={value}") })
        .collect();
    Ok(if shown.is_empty() { String::new() } else { format!("?{}", shown.join("&")) })
}

#[cfg(test)]
mod tests {
    use super::Signed;
    use crate::error::ErrorCode;
    use crate::sigv4::Request;
    use crate::time;

    /// The keys of the examples in the S3 user guide, "Signing and authenticating REST requests".
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn at(text: &str) -> i64 {
        time::parse_http_date(text).unwrap()
    }

    fn headers(date: &str, authorization: &str) -> Vec<(String, String)> {
        [("Date", date), ("Authorization", authorization), ("Host", "awsexamplebucket1.s3.amazonaws.com")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    #[test]
    fn the_published_get_of_an_object_verifies() {
        let date = "Tue, 27 Mar 2007 19:36:42 +0000";
        let sent = headers(date, "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=");
        let request = Request { method: "GET", path: "/photos/puppy.jpg", query: "", headers: &sent };

        let signed = Signed::from_header(&request, at(date) + 60).unwrap();

        assert_eq!(signed.access_key, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(signed.verify(&request, Some("awsexamplebucket1"), SECRET), Ok(()));
        let other = signed.verify(&request, Some("awsexamplebucket2"), SECRET).unwrap_err();
        assert_eq!(other.code, ErrorCode::SignatureDoesNotMatch);
    }

    #[test]
    fn the_published_list_verifies_and_only_sub_resources_of_its_query_are_signed() {
        let date = "Tue, 27 Mar 2007 19:42:41 +0000";
        let sent = headers(date, "AWS AKIAIOSFODNN7EXAMPLE:m0WP8eCtspQl5Ahe6L1SozdX9YA=");
        let query = "prefix=photos&max-keys=50&marker=puppy";
        let request = Request { method: "GET", path: "/", query, headers: &sent };

        let signed = Signed::from_header(&request, at(date)).unwrap();

        assert_eq!(signed.verify(&request, Some("awsexamplebucket1"), SECRET), Ok(()));
    }

    #[test]
    fn a_sub_resource_is_signed() {
        let date = "Tue, 27 Mar 2007 19:44:46 +0000";
        let sent = headers(date, "AWS AKIAIOSFODNN7EXAMPLE:82ZHiFIjc+WbcwFKGUVEQspPn+0=");
        let request = Request { method: "GET", path: "/", query: "acl", headers: &sent };

        let signed = Signed::from_header(&request, at(date)).unwrap();

        assert_eq!(signed.verify(&request, Some("awsexamplebucket1"), SECRET), Ok(()));
    }

    #[test]
    fn a_bucket_may_be_signed_with_the_slash_that_was_not_sent() {
        let date = "Tue, 27 Mar 2007 19:36:42 GMT";
        let signature = super::sign(SECRET, &format!("PUT\n\n\n{date}\n/album/"));
        let sent = headers(date, &format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}"));
        let request = Request { method: "PUT", path: "/album", query: "", headers: &sent };

        let signed = Signed::from_header(&request, at(date)).unwrap();

        assert_eq!(signed.verify(&request, None, SECRET), Ok(()));
        let object = Request { path: "/album/rose", ..request };
        assert_eq!(signed.verify(&object, None, SECRET).unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
    }

    #[test]
    fn a_presigned_url_verifies_until_it_expires_and_not_for_another_key() {
        let none: Vec<(String, String)> = Vec::new();
        let to_sign = "GET\n\n\n1175139620\n/awsexamplebucket1/photos/puppy.jpg";
        let signature = crate::percent::encode_component(super::sign(SECRET, to_sign).as_bytes());
        let query = format!("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={signature}&Expires=1175139620");
        let path = "/awsexamplebucket1/photos/puppy.jpg";
        let request = Request { method: "GET", path, query: &query, headers: &none };

        let signed = Signed::from_query(&request, 1_175_139_619).unwrap();

        assert_eq!(signed.verify(&request, None, SECRET), Ok(()));
        let moved = Request { path: "/awsexamplebucket1/photos/kitten.jpg", ..request };
        assert_eq!(signed.verify(&moved, None, SECRET).unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
        let late = Signed::from_query(&request, 1_175_139_621).unwrap_err();
        assert_eq!((late.code, late.message.as_ref()), (ErrorCode::AccessDenied, "Request has expired."));
    }

    #[test]
    fn what_is_no_signature_of_version_2_is_refused_with_its_code() {
        let date = "Tue, 27 Mar 2007 19:36:42 +0000";
        let code = |date: &str, authorization: &str| {
            let sent = headers(date, authorization);
            let request = Request { method: "GET", path: "/", query: "", headers: &sent };
            Signed::from_header(&request, at("Tue, 27 Mar 2007 19:36:42 GMT")).map_err(|refusal| refusal.code)
        };

        assert_eq!(code(date, "AWS HAHAHA"), Err(ErrorCode::InvalidArgument));
        assert_eq!(code("", "AWS a:b"), Err(ErrorCode::AccessDenied));
        assert_eq!(code("Tue, 27 Mar 2007 21:36:42 +0000", "AWS a:b"), Err(ErrorCode::RequestTimeTooSkewed));
    }
}
