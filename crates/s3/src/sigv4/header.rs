//! The signature in the `Authorization` header.

use super::{
    ALGORITHM, Credential, Payload, Request, Rules, Signed, check_all_signed, check_skew, parse_signature,
};
use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;
use crate::time;

impl Signed {
    /// Reads the `Authorization` header and checks everything that needs no secret.
    ///
    /// # Errors
    ///
    /// In this order: `AccessDenied` without a date, `MalformedDate`, `RequestTimeTooSkewed`,
    /// `AuthorizationHeaderMalformed` for syntax and for another region than ours,
    /// `AuthorizationParametersError` for another service, `SignatureDoesNotMatch` when the scope is
    /// of another day than the date, `InvalidRequest` without a payload hash, and `AccessDenied` when
    /// an `x-amz-*` header is not signed.
    pub fn from_header(request: &Request<'_>, rules: &Rules<'_>) -> Result<Signed, Refusal> {
        let signed_at_s = request_date(request.headers)?;
        check_skew(signed_at_s, rules.now_s)?;
        let amz_date = time::amz_date(signed_at_s);
        let fields = Fields::parse(request.headers.text("authorization").unwrap_or_default())?;
        fields.credential.check(rules, &amz_date)?;
        let payload_hash = request.headers.text("x-amz-content-sha256").ok_or_else(|| {
            Refusal::with(
                ErrorCode::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256.",
            )
        })?;
        let payload = Payload::parse(payload_hash)?;
        check_all_signed(request.headers, &fields.signed_headers)?;
        Ok(Signed {
            credential: fields.credential,
            signed_at_s,
            expires_s: None,
            session_token: request.headers.text("x-amz-security-token").map(str::to_owned),
            payload,
            amz_date,
            signed_headers: fields.signed_headers,
            signature: fields.signature,
            payload_hash: payload_hash.to_owned(),
        })
    }
}

/// The three fields of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    credential: Credential,
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl Fields {
    /// Reads `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`; the fields stand in any
    /// order, with or without blanks after the commas.
    fn parse(authorization: &str) -> Result<Fields, Refusal> {
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(|| malformed("algorithm"))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Credential::parse(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(signed_header_names(value)),
                // What cannot be a signature is one that does not match, as for a presigned URL.
                Some(("Signature", value)) => {
                    let parsed = parse_signature(value);
                    signature = Some(parsed.ok_or_else(|| Refusal::new(ErrorCode::SignatureDoesNotMatch))?);
                }
                _ => return Err(malformed("field")),
            }
        }
        Ok(Fields {
            credential: credential.ok_or_else(|| malformed("Credential"))?,
            signed_headers: signed_headers.ok_or_else(|| malformed("SignedHeaders"))?,
            signature: signature.ok_or_else(|| malformed("Signature"))?,
        })
    }
}

/// The names of `SignedHeaders`, lower case, in the order sent: that order is part of what is signed.
pub(super) fn signed_header_names(value: &str) -> Vec<String> {
    value.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect()
}

fn malformed(part: &str) -> Refusal {
    Refusal::with(
        ErrorCode::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; its {part} is missing or not valid."),
    )
}

/// When the request says it was signed: `x-amz-date`, else `Date`.
fn request_date(headers: &dyn Headers) -> Result<i64, Refusal> {
    let text = headers.text("x-amz-date").or_else(|| headers.text("date")).ok_or_else(|| {
        Refusal::with(
            ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header.",
        )
    })?;
    time::parse_amz_date(text)
        .or_else(|| time::parse_http_date(text))
        .or_else(|| time::parse_iso8601_ms(text).map(|ms| ms.div_euclid(1000)))
        .ok_or_else(|| Refusal::new(ErrorCode::MalformedDate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{Credential, Fields, request_date};
    use crate::error::ErrorCode;

    const SCOPE: &str = "20260115/us-east-1/s3/aws4_request";

    fn signature() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn fields_stand_in_any_order_with_or_without_blanks() {
        let expected = Fields {
            credential: Credential::parse(&format!("a/b=c/{SCOPE}")).unwrap(),
            signed_headers: vec!["host".to_owned(), "x-amz-date".to_owned()],
            signature: [0xab; 32],
        };
        for text in [
            format!(
                "AWS4-HMAC-SHA256 Credential=a/b=c/{SCOPE}, SignedHeaders=host;x-amz-date, Signature={}",
                signature()
            ),
            format!(
                "AWS4-HMAC-SHA256 Signature={},SignedHeaders=Host;X-Amz-Date,Credential=a/b=c/{SCOPE}",
                signature()
            ),
        ] {
            assert_eq!(Fields::parse(&text), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn a_credential_is_split_from_the_right() {
        let credential = Credential::parse(&format!("a/b/c/{SCOPE}")).unwrap();

        assert_eq!(credential.access_key, "a/b/c");
        assert_eq!(credential.scope(), SCOPE);
        for broken in [
            "",
            SCOPE,
            "/20260115/us-east-1/s3/aws4_request",
            "a/2026011/us-east-1/s3/aws4_request",
            "a/20260115/us-east-1/s3/aws5",
        ] {
            assert_eq!(Credential::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_missing_or_broken_field_is_malformed() {
        let signature = signature();
        for text in [
            "AWS4-HMAC-SHA256".to_owned(),
            format!("AWS4-HMAC-SHA256 SignedHeaders=host, Signature={signature}"),
            format!("AWS4-HMAC-SHA256 Credential=a/{SCOPE}, Signature={signature}"),
            format!("AWS4-HMAC-SHA256 Credential=a/{SCOPE}, SignedHeaders=host"),
        ] {
            let code = Fields::parse(&text).unwrap_err().code;
            assert_eq!(code, ErrorCode::AuthorizationHeaderMalformed, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_signature_does_not_match() {
        for text in ["zz", "", "ab12"] {
            let text = format!("AWS4-HMAC-SHA256 Credential=a/{SCOPE}, SignedHeaders=host, Signature={text}");
            let code = Fields::parse(&text).unwrap_err().code;
            assert_eq!(code, ErrorCode::SignatureDoesNotMatch, "{text}");
        }
    }

    #[test]
    fn the_date_may_come_in_either_header_and_several_forms() {
        let date = |name: &str, text: &str| {
            request_date(&[(name.to_owned(), text.to_owned())]).map_err(|refusal| refusal.code)
        };

        assert_eq!(date("x-amz-date", "20260115T120000Z"), Ok(1_768_478_400));
        assert_eq!(date("date", "Thu, 15 Jan 2026 12:00:00 GMT"), Ok(1_768_478_400));
        assert_eq!(date("date", "Thu, 15 Jan 2026 12:00:00 -0000"), Ok(1_768_478_400));
        assert_eq!(date("date", "2026-01-15T12:00:00Z"), Ok(1_768_478_400));
        assert_eq!(date("date", "yesterday"), Err(ErrorCode::MalformedDate));
        assert_eq!(date("host", "h"), Err(ErrorCode::AccessDenied));
    }

    proptest! {
        /// No header makes the parser panic.
        #[test]
        fn any_authorization_is_read_or_refused(text in "AWS4-HMAC-SHA256 .{0,120}") {
            let _ = Fields::parse(&text);
        }
    }
}
