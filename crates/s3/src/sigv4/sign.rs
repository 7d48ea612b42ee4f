//! The client's side: signing a request by header, as a presigned URL, and chunk by chunk.

use super::{
    ALGORITHM, ChunkChain, Credential, QueryOrder, Request, SigningKey, UNSIGNED_PAYLOAD, canonical,
    canonical_path, canonical_query, string_to_sign,
};
use crate::error::Refusal;
use crate::percent;
use crate::time;

/// Headers that are not signed, because proxies and HTTP libraries change them on the way.
const UNSIGNED_HEADERS: [&str; 8] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// Signs requests with one pair of keys.
#[derive(Clone, Copy)]
pub struct RequestSigner<'a> {
    /// The access key.
    pub access_key: &'a str,
    /// The secret key.
    pub secret_key: &'a str,
    /// The token of temporary credentials.
    pub session_token: Option<&'a str>,
    /// The region to sign for.
    pub region: &'a str,
    /// The service to sign for: `s3`.
    pub service: &'a str,
}

/// What signing by header adds to a request.
#[derive(Debug)]
pub struct SignedHeaders {
    /// The headers to send besides those that were signed, by name and value.
    pub headers: Vec<(&'static str, String)>,
    /// The chain that signs the chunks of the body, when it goes in chunks.
    pub chunk_chain: ChunkChain,
}

impl RequestSigner<'_> {
    /// Signs a request by header, at `now_s` seconds since 1970.
    ///
    /// `request.headers` holds `host` and all headers that will be sent; those that proxies change
    /// are left unsigned. `payload_hash` is the hexadecimal SHA-256 of the body, [`UNSIGNED_PAYLOAD`],
    /// or the keyword of a [`super::ChunkMode`].
    ///
    /// # Errors
    ///
    /// `InvalidURI` when path or query are not decodable.
    pub fn sign(
        &self,
        request: &Request<'_>,
        payload_hash: &str,
        now_s: i64,
    ) -> Result<SignedHeaders, Refusal> {
        let amz_date = time::amz_date(now_s);
        let mut added =
            vec![("x-amz-content-sha256", payload_hash.to_owned()), ("x-amz-date", amz_date.clone())];
        added.extend(self.session_token.map(|token| ("x-amz-security-token", token.to_owned())));
        let mut fields: Vec<(String, Vec<u8>)> =
            added.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())).collect();
        request.headers.for_each(&mut |name, value| {
            let name = name.to_ascii_lowercase();
            let replaced = added.iter().any(|(added, _)| *added == name);
            if !replaced && !UNSIGNED_HEADERS.contains(&name.as_str()) {
                fields.push((name, value.to_owned()));
            }
        });
        let mut signed_headers: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        signed_headers.sort();
        signed_headers.dedup();

        let credential = self.credential(&amz_date);
        let canonical = canonical::join(
            request.method,
            &canonical_path(request.path)?,
            &canonical_query(request.query, QueryOrder::ByNameAndValue)?,
            &canonical::canonical_headers(&fields, &signed_headers)?,
            &signed_headers,
            payload_hash,
        );
        let key = SigningKey::of(self.secret_key, &credential);
        let signature = key.sign(string_to_sign(&amz_date, &credential, &canonical).as_bytes());
        added.push((
            "authorization",
            format!(
                "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
                self.access_key,
                credential.scope(),
                signed_headers.join(";"),
                hex::encode(signature)
            ),
        ));
        let chunk_chain = ChunkChain::new(key, &amz_date, &credential.scope(), signature);
        Ok(SignedHeaders { headers: added, chunk_chain })
    }

    /// Signs a request as a URL that lives `expires_s` seconds from `now_s`; returns the whole query
    /// string, which begins with that of the request.
    ///
    /// `request.headers` holds `host` and the headers that whoever uses the URL must send.
    ///
    /// # Errors
    ///
    /// `InvalidURI` when path or query are not decodable.
    pub fn presign(&self, request: &Request<'_>, expires_s: u32, now_s: i64) -> Result<String, Refusal> {
        let amz_date = time::amz_date(now_s);
        let credential = self.credential(&amz_date);
        let mut signed_headers = Vec::new();
        request.headers.for_each(&mut |name, _| signed_headers.push(name.to_ascii_lowercase()));
        signed_headers.sort();
        signed_headers.dedup();

        let mut parameters = vec![
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.access_key, credential.scope())),
            ("X-Amz-Date", amz_date.clone()),
            ("X-Amz-Expires", expires_s.to_string()),
            ("X-Amz-SignedHeaders", signed_headers.join(";")),
        ];
        parameters.extend(self.session_token.map(|token| ("X-Amz-Security-Token", token.to_owned())));
        let mut query = request.query.to_owned();
        for (name, value) in parameters {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            query.push_str(&percent::encode_component(value.as_bytes()));
        }
        let canonical = canonical::join(
            request.method,
            &canonical_path(request.path)?,
            &canonical_query(&query, QueryOrder::ByNameAndValue)?,
            &canonical::canonical_headers(request.headers, &signed_headers)?,
            &signed_headers,
            UNSIGNED_PAYLOAD,
        );
        let key = SigningKey::of(self.secret_key, &credential);
        let signature = key.sign(string_to_sign(&amz_date, &credential, &canonical).as_bytes());
        query.push_str("&X-Amz-Signature=");
        query.push_str(&hex::encode(signature));
        Ok(query)
    }

    fn credential(&self, amz_date: &str) -> Credential {
        Credential {
            access_key: self.access_key.to_owned(),
            date: amz_date[..8].to_owned(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        }
    }
}
