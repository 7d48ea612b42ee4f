//! The configuration system: subsystems and keys, stored settings, the environment above them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_notify as notify;
use tidings_store as store;

/// Stored settings under the environment's, and who applies them.
pub struct Configuration {}

impl Configuration {
    /// Loads what is stored and lays the environment over it. Applies nothing yet.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn load(
        store: Arc<store::Store>,
        notifier: Arc<notify::Notifier>,
        environment: Arc<BTreeMap<String, String>>,
    ) -> Result<Arc<Configuration>, store::Error> {
        let _ = (store, notifier, environment);
        todo!()
    }

    /// Gives the notifier the effective targets. Called once before the port opens, and after each change.
    /// Answers what is wrong with targets whose settings fail their check: (target, sentence).
    pub async fn apply_targets(&self) -> Vec<(String, String)> {
        todo!()
    }
}
