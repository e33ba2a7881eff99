//! Options of a remote: how patient it is, and where it looks for credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How a remote is used.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Ends every wait within a second once it is set.
    pub cancel: Arc<AtomicBool>,
    /// The longest that a connection may take to come up.
    pub connect_timeout: Duration,
    /// The longest silence: before an answer starts, and between two bytes of it.
    pub stall_timeout: Duration,
    /// The least useful rate, in bytes a second, averaged over [`RemoteOptions::rate_window`].
    pub minimum_rate: u64,
    /// The waiting time over which the rate is averaged.
    pub rate_window: Duration,
    /// How often a read is tried in a row without progress; at least 1.
    pub attempts: u32,
    /// Where credentials are looked for.
    pub environment: Environment,
    /// Hears what people should know while they wait.
    pub remark: RemarkHandler,
}

/// Says something to people.
#[derive(Clone)]
pub struct RemarkHandler(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Default for RemarkHandler {
    fn default() -> Self {
        Self(Arc::new(|_| ()))
    }
}

impl std::fmt::Debug for RemarkHandler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RemarkHandler")
    }
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            cancel: Arc::default(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            minimum_rate: 1024,
            rate_window: Duration::from_secs(30),
            attempts: 3,
            environment: Environment::of_process(),
            remark: RemarkHandler::default(),
        }
    }
}

/// The environment variables that remotes look at: those of the process, or a test's.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the variables of this process; those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self::of_pairs(pairs)
    }

    /// Makes an environment of these variables only.
    pub fn of_pairs<T: Into<String>>(pairs: impl IntoIterator<Item = (T, T)>) -> Self {
        let owned = pairs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        Self(owned.collect())
    }

    /// Returns a variable that is set and not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?;
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns a path below the home directory.
    pub(super) fn home(&self, below: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.get("HOME")?).join(below))
    }
}

impl std::fmt::Debug for Environment {
    /// Shows no values: secrets are among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}
