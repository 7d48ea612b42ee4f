//! May this caller do this? The one place that answers, and the permit it answers with.

use std::fmt;
use std::sync::Arc;

use crate::directory::Identity;

/// Who makes a request, once its signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: the request has no credentials.
    Anonymous,
    /// Someone of the directory.
    Identity(Arc<Identity>),
}

impl Caller {
    /// The access key, as records of events and logs name the caller; empty for nobody.
    pub fn principal(&self) -> &str {
        match self {
            Caller::Anonymous => "",
            Caller::Identity(identity) => &identity.access_key,
        }
    }
}

/// What an action is done to. `Display` writes the ARN that policies name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The service: listing buckets, admin calls.
    Service,
    /// A bucket.
    Bucket(&'a str),
    /// An object.
    Object {
        /// Its bucket.
        bucket: &'a str,
        /// Its key.
        key: &'a str,
    },
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Service => formatter.write_str("arn:aws:s3:::*"),
            Resource::Bucket(bucket) => write!(formatter, "arn:aws:s3:::{bucket}"),
            Resource::Object { bucket, key } => write!(formatter, "arn:aws:s3:::{bucket}/{key}"),
        }
    }
}

/// The proof that a caller may do one action to one resource. Only [`evaluate`] makes one.
///
/// ```compile_fail
/// let forged = tidings_iam::Permit { action: "s3:GetObject" };
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an operation needs its permit"]
pub struct Permit {
    action: &'static str,
}

impl Permit {
    /// The action it is for.
    pub fn action(&self) -> &'static str {
        self.action
    }
}

/// The caller may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{caller} may not {action} on {resource}")]
pub struct Denied {
    /// Who asked, `an anonymous caller` or the access key.
    pub caller: String,
    /// What for.
    pub action: &'static str,
    /// Of what, as an ARN.
    pub resource: String,
}

/// Decides whether `caller` may do `action` (`s3:GetObject`, `admin:ServerInfo`) to `resource`.
///
/// Root may do everything. Without credentials nothing is allowed, since no bucket has a policy yet.
///
/// # Errors
///
/// [`Denied`]; the gateway answers it with `AccessDenied` (403).
pub fn evaluate(caller: &Caller, action: &'static str, resource: Resource<'_>) -> Result<Permit, Denied> {
    let denied = |caller: &str| Denied { caller: caller.to_owned(), action, resource: resource.to_string() };
    match caller {
        Caller::Identity(identity) if identity.is_root() => Ok(Permit { action }),
        Caller::Identity(identity) => Err(denied(&identity.access_key)),
        Caller::Anonymous => Err(denied("an anonymous caller")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Caller, Resource, evaluate};
    use crate::directory::Directory;
    use crate::secret::Secret;

    const ROSE: Resource<'_> = Resource::Object { bucket: "album", key: "rose.jpg" };

    fn root() -> Caller {
        let directory = Directory::of_root("minioadmin", Secret::new("minioadmin")).unwrap();
        Caller::Identity(directory.root().clone())
    }

    #[test]
    fn root_may_do_everything() {
        for (action, resource) in [
            ("s3:ListAllMyBuckets", Resource::Service),
            ("s3:DeleteBucket", Resource::Bucket("album")),
            ("s3:GetObject", ROSE),
        ] {
            assert_eq!(evaluate(&root(), action, resource).map(|permit| permit.action()), Ok(action));
        }
    }

    #[test]
    fn a_caller_without_credentials_may_do_nothing() {
        let denied = evaluate(&Caller::Anonymous, "s3:GetObject", ROSE).unwrap_err();

        assert_eq!(
            denied.to_string(),
            "an anonymous caller may not s3:GetObject on arn:aws:s3:::album/rose.jpg"
        );
    }

    #[test]
    fn a_principal_is_the_access_key_and_empty_for_nobody() {
        assert_eq!(root().principal(), "minioadmin");
        assert_eq!(Caller::Anonymous.principal(), "");
    }
}
