//! A server from its parts: the order in which they start and stop.
//!
//! The port opens last: by then everything acknowledged before is readable and every bucket's rules are in
//! force, so the first answer a client sees is a true one. Stopping goes the other way round.

use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use tidings_drives::{OpenError, Sets, Tuning};
use tidings_gateway::config::Configuration;
use tidings_gateway::{Gateway, ServiceAction, Setup};
use tidings_notify::{Notifier, ServerIdentity};
use tidings_store::{Clock, Recorder, Silent, Store, SystemClock};

use crate::banner::{self, Summary};
use crate::config::Settings;
use crate::fatal::Fatal;
use crate::listen::{Listener, Reserved};
use crate::tls::Certificates;

/// Sub-directory of the certificates with authorities that notification targets are checked against.
const AUTHORITIES: &str = "CAs";

/// Admin calls to stop or restart that wait to be seen. One is enough: the first decides.
const SERVICE_ACTIONS_WAITING_MAX: usize = 1;

/// A server that answers.
pub struct Server {
    addresses: Vec<SocketAddr>,
    summary: Summary,
    settings: Settings,
    listener: Listener,
    gateway: Arc<Gateway>,
    notifier: Arc<Notifier>,
    engine: Arc<Sets>,
    certificate_watch: Option<JoinHandle<()>>,
    service_actions: mpsc::Receiver<ServiceAction>,
}

impl Server {
    /// Starts a server: settings, drives, store, configuration, targets, then the port. On return it answers.
    ///
    /// A process-wide rustls provider must be installed ([`crate::install_crypto`]).
    ///
    /// # Errors
    ///
    /// [`Fatal`], told for the operator. What was opened is closed again; nothing answered.
    pub async fn start(settings: Settings) -> Result<Server, Fatal> {
        let port = Port::take(&settings)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let engine = open_drives(&settings, Arc::clone(&clock)).await?;
        Server::open(settings, port, engine, clock).await
    }

    /// As [`Server::start`], over sets that are open already and under another clock. What the settings say of drives
    /// has no effect.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn start_with(
        settings: Settings,
        engine: Arc<Sets>,
        clock: Arc<dyn Clock>,
    ) -> Result<Server, Fatal> {
        let port = Port::take(&settings)?;
        Server::open(settings, port, engine, clock).await
    }

    async fn open(
        settings: Settings,
        port: Port,
        engine: Arc<Sets>,
        clock: Arc<dyn Clock>,
    ) -> Result<Server, Fatal> {
        let Port { certificates, reserved } = port;
        let addresses = reserved.addresses().to_vec();
        let sets = engine.reports();
        // The first set is the server; the others belong to it.
        let deployment_id = sets[0].id.clone();

        let node_id = hex::encode(Sha256::digest(deployment_id.as_bytes()));
        let region = region(&settings, &engine, &clock).await?;
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let reachable = banner::reachable(&addresses);
        let endpoint = reachable.first().cloned().unwrap_or_default();
        let identity = ServerIdentity {
            deployment_id,
            node_id: node_id.clone(),
            region: region.clone(),
            owner_id: tidings_gateway::OWNER_ID.to_owned(),
            endpoint: format!("{scheme}://{endpoint}"),
            ca_directory: Some(settings.certs_dir.join(AUTHORITIES)).filter(|directory| directory.is_dir()),
        };
        let notifier = Notifier::new(identity, Arc::clone(&clock));
        let recorder: Arc<dyn Recorder> = Arc::<Notifier>::clone(&notifier);
        let store = Arc::new(open_store(&engine, Arc::clone(&recorder), clock).await?);
        follow_recoveries(&engine, &recorder);
        let configuration = load_configuration(Arc::clone(&store), Arc::clone(&notifier), &settings).await?;
        begin_to_deliver(&notifier, &store, &configuration).await;

        let (service, service_actions) = mpsc::channel(SERVICE_ACTIONS_WAITING_MAX);
        let [report, verified, healed] = [(); 3].map(|()| Arc::clone(&engine));
        let gateway = Gateway::new(Setup {
            store,
            notifier: Arc::clone(&notifier),
            directory: settings.directory.clone(),
            configuration,
            reports: Arc::new(move || report.reports()),
            verify: Arc::new(move |told| verified.verify(told)),
            heal: Arc::new(move |task, told| healed.heal(task, told)),
            domains: settings.domains.clone(),
            region,
            node_id,
            endpoint,
            scheme,
            environment: Arc::clone(&settings.environment),
            service: Arc::new(move |action| {
                // A full queue says that the server is ending already.
                let _ = service.try_send(action);
            }),
        });
        let arns = notifier.arns().iter().map(ToString::to_string).collect();
        let tls = certificates.as_ref().map(Certificates::server_config);
        let listener = Listener::open(reserved, tls, Arc::clone(&gateway), settings.timeouts)
            .map_err(|error| Fatal::new("Unable to open the port", error))?;
        let summary = Summary {
            urls: reachable.iter().map(|address| format!("{scheme}://{address}")).collect(),
            user: settings.directory.root().access_key.clone(),
            has_default_keys: settings.has_default_keys(),
            sets,
            arns,
            without_effect: settings.without_effect.clone(),
        };
        Ok(Server {
            addresses,
            summary,
            settings,
            listener,
            gateway,
            notifier,
            engine,
            certificate_watch: certificates.map(|certificates| tokio::spawn(certificates.watch())),
            service_actions,
        })
    }

    /// Where it listens; the port is known even when the system chose it.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// What a start has to tell.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Waits until an admin call asks the process to restart or stop. The server answers meanwhile.
    pub async fn wait(&mut self) -> ServiceAction {
        self.service_actions.recv().await.expect("the gateway, which this server holds, holds the sender")
    }

    /// Stops: no new requests, those under way end or are cut after the shutdown timeout, access changes are
    /// committed, deliveries under way are acknowledged or will be repeated, drives are closed.
    pub async fn stop(self) {
        self.listener.drain(self.settings.timeouts.shutdown).await;
        self.gateway.drain().await;
        self.notifier.shutdown().await;
        self.engine.shutdown().await;
        if let Some(watch) = self.certificate_watch {
            watch.abort();
        }
    }
}

/// What is looked at before any drive is touched.
struct Port {
    certificates: Option<Arc<Certificates>>,
    reserved: Reserved,
}

impl Port {
    fn take(settings: &Settings) -> Result<Port, Fatal> {
        let certificates = load_certificates(settings)?;
        Ok(Port { certificates, reserved: Reserved::take(&settings.address)? })
    }
}

fn load_certificates(settings: &Settings) -> Result<Option<Arc<Certificates>>, Fatal> {
    Certificates::load(&settings.certs_dir).map_err(|error| {
        Fatal::new("Unable to load the TLS certificates", error)
            .remedy("Put a matching public.crt and private.key there, or name another --certs-dir.")
    })
}

async fn open_drives(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Arc<Sets>, Fatal> {
    let (sets, parity) = (settings.sets.clone(), settings.parity);
    let tuning = Tuning { io: settings.io, retention: settings.retention, ..Tuning::default() };
    let opened = tokio::task::spawn_blocking(move || Sets::open_tuned(&sets, parity, &clock, &tuning)).await;
    opened.expect("opening does not panic").map_err(|error| {
        let fatal = Fatal::new("Unable to use the drives", &error);
        match error {
            OpenError::Unwritable { .. } => {
                fatal.remedy("Give the directory to this user (chown), or start the server as its owner.")
            }
            _ => fatal,
        }
    })
}

/// Tells the recorder of changes that recovery kept while a set was in use: whoever committed them was told that the
/// outcome is unknown, and nobody else would wake the relays. Each task ends with its set.
fn follow_recoveries(engine: &Sets, recorder: &Arc<dyn Recorder>) {
    for set in engine.sets() {
        let (mut recovered, recorder) = (set.recovered(), Arc::clone(recorder));
        tokio::spawn(async move {
            while recovered.changed().await.is_ok() {
                recorder.committed(*recovered.borrow_and_update());
            }
        });
    }
}

async fn open_store(
    engine: &Arc<Sets>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
) -> Result<Store, Fatal> {
    let opened = Store::open(Arc::<Sets>::clone(engine), recorder, clock).await;
    opened.map_err(|error| Fatal::new("Unable to load the buckets and their rules", error))
}

/// The region of the environment, else the stored one.
///
/// The notifier needs it when it is made, and is itself what the store is opened with. So the stored settings
/// are read through a store of their own first, which records nothing and is dropped again.
async fn region(settings: &Settings, engine: &Arc<Sets>, clock: &Arc<dyn Clock>) -> Result<String, Fatal> {
    if let Some(region) = &settings.region {
        return Ok(region.clone());
    }
    let store = open_store(engine, Arc::new(Silent), Arc::clone(clock)).await?;
    let nobody = Notifier::new(ServerIdentity::default(), Arc::clone(clock));
    let configuration = load_configuration(Arc::new(store), nobody, settings).await?;
    Ok(configuration.value("site", "region"))
}

/// Lets the relays run, then gives them their targets.
async fn begin_to_deliver(notifier: &Arc<Notifier>, store: &Arc<Store>, configuration: &Configuration) {
    notifier.start(Arc::clone(store));
    for (target, problem) in configuration.apply_targets().await {
        tracing::warn!(%target, %problem, "A notification target is not used until its settings are right.");
    }
}

async fn load_configuration(
    store: Arc<Store>,
    notifier: Arc<Notifier>,
    settings: &Settings,
) -> Result<Arc<Configuration>, Fatal> {
    let loaded = Configuration::load(store, notifier, Arc::clone(&settings.environment)).await;
    loaded.map_err(|error| Fatal::new("Unable to read the stored configuration", error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::cli::Flags;

    /// Settings over four fresh drives, on a port the system chooses.
    fn settings(home: &std::path::Path) -> Settings {
        let flags = Flags { address: Some("127.0.0.1:0".to_owned()), ..Flags::default() };
        let drives = [format!("{}/d{{1...4}}", home.display())];
        let environment = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
        Settings::new(&flags, &drives, environment).unwrap().expect("drives are given")
    }

    /// Sends bytes and gives everything that comes back until the server closes.
    async fn exchange(address: SocketAddr, request: &'static str) -> String {
        let asked = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        tokio::task::spawn_blocking(asked).await.unwrap().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_answers_as_soon_as_it_has_started_and_not_after_it_was_stopped() {
        crate::install_crypto();
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(settings(home.path())).await.unwrap();
        let address = server.address();
        assert_eq!(server.summary().urls, [format!("http://{address}")]);
        let set = &server.summary().sets[0];
        assert_eq!((set.data, set.parity), (2, 2));

        let alive = "GET /minio/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert!(exchange(address, alive).await.starts_with("HTTP/1.1 200 OK\r\n"));
        let unsigned = "GET /album HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let refused = exchange(address, unsigned).await;
        assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
        assert!(refused.contains("<Code>AccessDenied</Code>"), "{refused}");

        server.stop().await;
        assert!(TcpStream::connect(address).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_idle_connection_does_not_hold_up_the_end() {
        crate::install_crypto();
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(settings(home.path())).await.unwrap();
        let mut silent = TcpStream::connect(server.address()).unwrap();
        exchange(server.address(), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;

        let began = std::time::Instant::now();
        server.stop().await;

        assert!(began.elapsed() < crate::config::Timeouts::default().shutdown, "{:?}", began.elapsed());
        let mut rest = Vec::new();
        assert!(silent.read_to_end(&mut rest).is_err() || rest.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_port_in_use_stops_the_start_before_a_drive_is_touched() {
        crate::install_crypto();
        let home = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = settings(home.path());
        settings.address.port = taken.local_addr().unwrap().port();

        let fatal = Server::start(settings).await.err().expect("the port is taken");

        assert!(fatal.what.starts_with("Unable to listen on 127.0.0.1:"), "{fatal}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
