//! How a request says who it is from, before anything is verified.
//!
//! A request uses one scheme. Two at once are refused, because which of them counts would otherwise
//! be the server's guess and the attacker's choice.

use crate::error::{ErrorCode, Refusal};
use crate::percent;
use crate::sigv4::Request;

/// The way a request is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    /// No credentials at all.
    Anonymous,
    /// Signature version 4 in the `Authorization` header.
    SigV4Header,
    /// Signature version 4 in the query string: a presigned URL.
    SigV4Presigned,
    /// Signature version 2 in the `Authorization` header.
    SigV2Header,
    /// Signature version 2 in the query string.
    SigV2Presigned,
    /// A bearer token; only metrics and admin calls take one.
    Bearer,
    /// A browser form, whose credentials are fields of its body.
    PostForm,
}

impl AuthScheme {
    /// Tells the scheme of a request.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` when more than one scheme is used, or when the `Authorization` header names one
    /// this server does not know; `AccessDenied` when the header is empty; `NotImplemented` for
    /// signatures with asymmetric keys (SigV4A).
    pub fn detect(request: &Request<'_>) -> Result<AuthScheme, Refusal> {
        let in_header = match request.headers.first("authorization") {
            None => None,
            Some(value) => Some(header_scheme(value)?),
        };
        let in_query = query_scheme(request.query);
        match (in_header, in_query) {
            (Some(_), Some(_)) => Err(Refusal::with(
                ErrorCode::InvalidRequest,
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                 string parameter or the Authorization header should be specified.",
            )),
            (Some(scheme), None) | (None, Some(scheme)) => Ok(scheme),
            (None, None) if is_form(request) => Ok(AuthScheme::PostForm),
            (None, None) => Ok(AuthScheme::Anonymous),
        }
    }
}

fn header_scheme(value: &[u8]) -> Result<AuthScheme, Refusal> {
    let word = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        // Ceph's suite asks for this status where MinIO answers 400.
        b"" => Err(Refusal::new(ErrorCode::AccessDenied)),
        b"AWS4-HMAC-SHA256" => Ok(AuthScheme::SigV4Header),
        b"AWS" => Ok(AuthScheme::SigV2Header),
        b"Bearer" => Ok(AuthScheme::Bearer),
        b"AWS4-ECDSA-P256-SHA256" => {
            Err(Refusal::with(ErrorCode::NotImplemented, "AWS4-ECDSA-P256-SHA256 is not implemented."))
        }
        _ => Err(Refusal::with(
            ErrorCode::InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )),
    }
}

/// A query is presigned by version 4 when any of its three telling names is there, so that a URL
/// which lost one of them is refused rather than taken for an anonymous request.
fn query_scheme(query: &str) -> Option<AuthScheme> {
    let mut scheme = None;
    for (name, _) in percent::raw_pairs(query) {
        let is_v4 = ["x-amz-credential", "x-amz-algorithm", "x-amz-signature"]
            .iter()
            .any(|telling| name.eq_ignore_ascii_case(telling));
        if is_v4 {
            return Some(AuthScheme::SigV4Presigned);
        }
        if name == "AWSAccessKeyId" {
            scheme = Some(AuthScheme::SigV2Presigned);
        }
    }
    scheme
}

fn is_form(request: &Request<'_>) -> bool {
    let content_type = request.headers.first("content-type").unwrap_or_default();
    let form = b"multipart/form-data";
    request.method == "POST"
        && content_type.get(..form.len()).is_some_and(|start| start.eq_ignore_ascii_case(form))
}

#[cfg(test)]
mod tests {
    use super::AuthScheme;
    use crate::error::ErrorCode;
    use crate::sigv4::Request;

    fn detect(method: &str, query: &str, headers: &[(&str, &str)]) -> Result<AuthScheme, ErrorCode> {
        let headers: Vec<_> = headers.to_vec();
        AuthScheme::detect(&Request { method, path: "/b/k", query, headers: &headers })
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn each_scheme_is_told_by_its_own_sign() {
        let authorization = |value| detect("GET", "", &[("Authorization", value)]);

        assert_eq!(detect("GET", "acl", &[]), Ok(AuthScheme::Anonymous));
        assert_eq!(authorization("AWS4-HMAC-SHA256 Credential=x"), Ok(AuthScheme::SigV4Header));
        assert_eq!(authorization("AWS key:signature"), Ok(AuthScheme::SigV2Header));
        assert_eq!(authorization("Bearer e30"), Ok(AuthScheme::Bearer));
        assert_eq!(detect("GET", "X-Amz-Credential=x", &[]), Ok(AuthScheme::SigV4Presigned));
        assert_eq!(detect("GET", "AWSAccessKeyId=x", &[]), Ok(AuthScheme::SigV2Presigned));
        let form = [("Content-Type", "multipart/form-data; boundary=x")];
        assert_eq!(detect("POST", "", &form), Ok(AuthScheme::PostForm));
        assert_eq!(detect("PUT", "", &form), Ok(AuthScheme::Anonymous));
    }

    #[test]
    fn two_schemes_at_once_an_unknown_one_and_an_empty_header_are_refused() {
        let header = [("Authorization", "AWS4-HMAC-SHA256 Credential=x")];

        assert_eq!(detect("GET", "X-Amz-Credential=x", &header), Err(ErrorCode::InvalidRequest));
        assert_eq!(detect("GET", "", &[("Authorization", "Basic eA==")]), Err(ErrorCode::InvalidRequest));
        assert_eq!(detect("GET", "", &[("Authorization", "")]), Err(ErrorCode::AccessDenied));
        let asymmetric = [("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x")];
        assert_eq!(detect("GET", "", &asymmetric), Err(ErrorCode::NotImplemented));
    }
}
