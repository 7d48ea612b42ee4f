//! Settings: small named documents of the server itself (configuration, its history), kept in the first
//! partition. Their form belongs to whoever stores them.

use bytes::Bytes;

use crate::error::Error;
use crate::store::Store;

impl Store {
    /// A setting by name.
    pub async fn setting(&self, name: &str) -> Result<Option<Bytes>, Error> {
        todo!()
    }

    /// All settings whose name begins with `prefix`, sorted by name.
    pub async fn settings(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, Error> {
        todo!()
    }

    /// Writes (`Some`) and removes (`None`) settings in one commit.
    pub async fn change_settings(&self, settings: Vec<(String, Option<Bytes>)>) -> Result<(), Error> {
        todo!()
    }
}
