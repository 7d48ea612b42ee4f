//! The admin API: what `mc admin` asks.

mod sealed;
use bytes::Bytes;
use http::{Response, request};

use crate::{Gateway, ResponseBody};

/// An authenticated admin request, whole.
pub(crate) struct AdminRequest {
    /// Method, path, query, headers.
    pub(crate) head: request::Parts,
    /// The path after `/minio/admin/v3`.
    pub(crate) path: String,
    /// Decoded query, in order.
    pub(crate) query: Vec<(String, String)>,
    /// The body as sent, at most 1 MiB.
    pub(crate) body: Bytes,
    /// The request's id, told in error documents: 16 upper-case hexadecimal digits.
    pub(crate) id: String,
    /// Secret of the credential that signed: the password of sealed bodies.
    pub(crate) secret: String,
}

/// Answers an admin call; an unknown path is 426.
pub(crate) async fn respond(gateway: &Gateway, request: AdminRequest) -> Response<ResponseBody> {
    let _ = (gateway, request.head, request.path, request.query, request.body, request.secret, request.id);
    todo!()
}
