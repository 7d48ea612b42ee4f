//! A topic: its name, who made it, its attributes, and the target it makes.

use std::collections::BTreeMap;

use notify::{Arn, TargetSettings, topic};
use serde::{Deserialize, Serialize};
use tidings_notify as notify;

use super::{attribute, endpoint};

/// See the module header. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Topic {
    /// Its name; not stored beside the rest, which is stored under it.
    #[serde(skip)]
    pub(crate) name: String,
    /// The access key of who made it.
    pub(crate) owner: String,
    /// What was set, by name, none empty.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Topic {
    /// The value of an attribute; empty when it is not set.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Sets or unsets an attribute.
    ///
    /// # Errors
    ///
    /// A sentence, for a name that is no attribute and a value that it does not take.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        attribute::check(name, value)?;
        if attribute::is_unset(name, value) {
            self.attributes.remove(name);
        } else {
            self.attributes.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// The settings of the target that the endpoint is; `None` for a topic without one.
    ///
    /// # Errors
    ///
    /// A sentence that names the attribute.
    pub(crate) fn settings(&self) -> Result<Option<TargetSettings>, String> {
        match self.value("push-endpoint") {
            "" => Ok(None),
            _ => endpoint::settings(self).map(Some),
        }
    }

    /// The ARN under which rules name it.
    pub(crate) fn arn(&self, region: &str) -> String {
        let (region, id, kind) = (region.to_owned(), self.name.clone(), topic::KIND.to_owned());
        Arn { region, id, kind }.to_string()
    }
}
