//! The signature in the query string: a presigned URL.

use super::header::signed_header_names;
use super::{
    ALGORITHM, Credential, PRESIGNED_SECONDS_MAX, Payload, Request, Rules, SKEW_SECONDS_MAX, Signed,
    UNSIGNED_PAYLOAD, check_all_signed, parse_signature,
};
use crate::error::{ErrorCode, Refusal};
use crate::percent;
use crate::time;

impl Signed {
    /// Reads the signature of a presigned URL and checks everything that needs no secret.
    ///
    /// The URL is valid from its date (with the usual tolerance of clocks) for `X-Amz-Expires`
    /// seconds. The names are accepted in any case, since some libraries write them in lower case.
    ///
    /// # Errors
    ///
    /// `AuthorizationQueryParametersError` when a parameter is missing or malformed (status 400), or
    /// when the expiry is not within 1 second and seven days (status 403, as Ceph's suite asks);
    /// `AccessDenied` when it is expired, not yet valid, or an `x-amz-*` header is not signed; the
    /// errors of the credential as for the header.
    pub fn from_query(request: &Request<'_>, rules: &Rules<'_>) -> Result<Signed, Refusal> {
        let parameters = Parameters::read(request.query)?;
        if required(&parameters.algorithm)? != ALGORITHM {
            return Err(invalid("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"."));
        }
        let credential = Credential::parse(required(&parameters.credential)?)
            .ok_or_else(|| invalid("Error parsing the X-Amz-Credential parameter."))?;
        let amz_date = required(&parameters.date)?;
        let signed_at_s = time::parse_amz_date(amz_date).ok_or_else(|| {
            invalid("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\".")
        })?;
        let expires_s = parse_expires(required(&parameters.expires)?)?;
        let signed_headers = signed_header_names(required(&parameters.signed_headers)?);
        let signature = parse_signature(required(&parameters.signature)?)
            .ok_or_else(|| Refusal::new(ErrorCode::SignatureDoesNotMatch))?;

        credential.check(rules, amz_date)?;
        if signed_at_s > rules.now_s + SKEW_SECONDS_MAX {
            return Err(Refusal::with(ErrorCode::AccessDenied, "Request is not valid yet."));
        }
        if rules.now_s > signed_at_s + i64::from(expires_s) {
            return Err(Refusal::with(ErrorCode::AccessDenied, "Request has expired.")
                .element("X-Amz-Expires", expires_s.to_string())
                .element("ServerTime", time::iso8601_ms(rules.now_s.saturating_mul(1000))));
        }
        let header_hash = request.headers.text("x-amz-content-sha256").map(str::to_owned);
        let payload_hash =
            header_hash.or(parameters.content_sha256).unwrap_or_else(|| UNSIGNED_PAYLOAD.to_owned());
        let payload = Payload::parse(&payload_hash)?;
        check_all_signed(request.headers, &signed_headers)?;
        let header_token = request.headers.text("x-amz-security-token").map(str::to_owned);
        Ok(Signed {
            credential,
            signed_at_s,
            expires_s: Some(expires_s),
            session_token: parameters.security_token.or(header_token),
            payload,
            amz_date: amz_date.to_owned(),
            signed_headers,
            signature,
            payload_hash,
        })
    }
}

/// The parameters of a presigned URL; of a repeated one the first counts.
#[derive(Debug, Default)]
struct Parameters {
    algorithm: Option<String>,
    credential: Option<String>,
    date: Option<String>,
    expires: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
    content_sha256: Option<String>,
    security_token: Option<String>,
}

impl Parameters {
    fn read(query: &str) -> Result<Parameters, Refusal> {
        let mut parameters = Parameters::default();
        for (name, value) in percent::query_pairs(query)? {
            let place = match name.to_ascii_lowercase().as_str() {
                "x-amz-algorithm" => &mut parameters.algorithm,
                "x-amz-credential" => &mut parameters.credential,
                "x-amz-date" => &mut parameters.date,
                "x-amz-expires" => &mut parameters.expires,
                "x-amz-signedheaders" => &mut parameters.signed_headers,
                "x-amz-signature" => &mut parameters.signature,
                "x-amz-content-sha256" => &mut parameters.content_sha256,
                "x-amz-security-token" => &mut parameters.security_token,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        Ok(parameters)
    }
}

fn required(value: &Option<String>) -> Result<&str, Refusal> {
    value
        .as_deref()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Refusal::new(ErrorCode::AuthorizationQueryParametersError))
}

fn parse_expires(text: &str) -> Result<u32, Refusal> {
    let seconds: i64 = text.parse().map_err(|_| invalid("X-Amz-Expires should be a number."))?;
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=PRESIGNED_SECONDS_MAX) => Ok(seconds),
        _ => Err(invalid("X-Amz-Expires must be between 1 and 604800 seconds, a week.").status(403)),
    }
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::with(ErrorCode::AuthorizationQueryParametersError, message)
}
