//! A whole server in this process, over drives that lose power and under a clock that is set.
//!
//! Everything but the program's `main` is the server's own: engine, store, relays, gateway, listener, targets. A cut
//! of the power fails the step of a drive that is under way, tears it, and loses every byte that was not synced; then
//! the server's runtime ends where it stands and a new one starts over what the drives still hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidings::Server;
use tidings::cli::Flags;
use tidings::config::Settings;
use tidings_drives::Sets;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_store::{Clock, SystemClock};
use tokio::runtime::Runtime;

use crate::support::eventually;

const DRIVES: usize = 4;

/// Largest segment, in bytes: small, so that segments are filled, sealed, compacted and used again while a row runs.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Steps of its drives after which power goes, at most: several frames, each of which is one step a drive.
const STEPS_MAX: u64 = 32;

/// How long tasks of a server may take to see that its power is off.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// See the module header.
pub(crate) struct Machine {
    drives: Vec<FaultyDrive>,
    power: Arc<Power>,
    clock: Arc<SetClock>,
    address: String,
    environment: BTreeMap<String, String>,
    capacity_bytes: Option<u64>,
    dice: StdRng,
    life: Option<Life>,
}

struct Life {
    runtime: Runtime,
    server: Server,
}

/// The machine's clock, which may be set.
pub(crate) struct SetClock {
    ahead_ns: AtomicI64,
}

impl SetClock {
    /// Sets it so far ahead of the true time, or behind it.
    pub(crate) fn set_ahead_s(&self, seconds: i64) {
        self.ahead_ns.store(seconds * 1_000_000_000, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now_ns(&self) -> u64 {
        SystemClock.now_ns().saturating_add_signed(self.ahead_ns.load(Ordering::SeqCst))
    }

    fn steady_ms(&self) -> u64 {
        SystemClock.steady_ms()
    }
}

impl Machine {
    /// A machine that listens on a port, not started yet. Its drives have so many bytes, if that matters.
    pub(crate) fn new(
        port: u16,
        environment: BTreeMap<String, String>,
        capacity_bytes: Option<u64>,
        seed: u64,
    ) -> Machine {
        let power = Power::steady();
        let drives = FaultyDrive::machine(DRIVES, &power)
            .into_iter()
            .map(|drive| drive.with_segments_of(SEGMENT_BYTES))
            .collect();
        Machine {
            drives,
            power,
            clock: Arc::new(SetClock { ahead_ns: AtomicI64::new(0) }),
            address: format!("127.0.0.1:{port}"),
            environment,
            capacity_bytes,
            dice: StdRng::seed_from_u64(seed),
            life: None,
        }
    }

    pub(crate) fn clock(&self) -> &SetClock {
        &self.clock
    }

    /// Starts it over what its drives hold.
    pub(crate) async fn start(&mut self) {
        let power = Power::losing_power_after(u64::MAX, self.dice.random());
        self.drives = self.drives.iter().map(|drive| drive.restarted(&power)).collect();
        self.power = power;
        if let Some(capacity_bytes) = self.capacity_bytes {
            self.drives.iter().for_each(|drive| drive.limit(capacity_bytes));
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let flags = Flags { address: Some(self.address.clone()), ..Flags::default() };
        // What names the drives has no effect: they are given.
        let settings = Settings::new(&flags, &["unused{1...4}".to_owned()], self.environment.clone());
        let settings = settings.unwrap().expect("drives are given");
        let given = self.drives.iter().map(FaultyDrive::given).collect();
        let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&self.clock);
        let started = runtime.spawn(async move {
            let opening = Arc::clone(&clock);
            let opened =
                tokio::task::spawn_blocking(move || Sets::open_on(vec![given], None, &opening)).await;
            Server::start_with(settings, opened.unwrap().unwrap(), clock).await
        });
        let server = started.await.unwrap().unwrap_or_else(|fatal| panic!("{}", fatal.lines()));
        self.life = Some(Life { runtime, server });
    }

    /// Cuts the power in the middle of what is under way, and waits until nothing of the server is left.
    pub(crate) async fn cut(&mut self) {
        let Life { runtime, server } = self.life.take().expect("the machine runs");
        self.power.cut_after(self.dice.random_range(0..STEPS_MAX));
        let power = Arc::clone(&self.power);
        eventually("a step of a drive at which the power goes", || {
            let is_off = power.was_lost();
            async move { is_off.then_some(()) }
        })
        .await;
        ended(runtime, server).await;
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let Life { runtime, server } = self.life.take().expect("the machine runs");
        runtime.spawn(server.stop()).await.unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(ENDS_WITHIN)).await.unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(Life { runtime, server }) = self.life.take() {
            self.power.cut();
            runtime.shutdown_background();
            drop(server);
        }
    }
}

/// Ends every task of a server where it stands.
async fn ended(runtime: Runtime, server: Server) {
    let ended = tokio::task::spawn_blocking(move || {
        runtime.shutdown_timeout(ENDS_WITHIN);
        drop(server);
    });
    ended.await.unwrap();
}
