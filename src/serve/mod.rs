//! A small HTTP server for the directory of a remote, for labs: in production a web server or an
//! object store does this.
//!
//! It answers GET and HEAD for `/head`, `/blobs/sha256/<2 hex>/<64 hex>`, `/healthz` and, where
//! wanted, `/metrics`; for nothing else. Whoever reaches it may read what is published, as with any
//! remote. What it sends is not verified here: receivers do.

mod access;
mod account;
mod answer;
mod body;
mod metrics;
mod published;
mod range;
mod stall;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::{Either, select};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use self::access::AccessLog;
use self::account::Ledger;
use self::answer::ServedSite;
use self::metrics::Metrics;
use self::published::PublishedFiles;
use self::stall::StallGuard;

/// How often it is looked whether the server should end.
const TICK: Duration = Duration::from_millis(50);

/// What one client, or all, can take.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Open connections; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head; at least 8192.
    pub header_bytes: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub header_time: Duration,
    /// How long a client may take nothing of an answer.
    pub stall_time: Duration,
    /// How long answers may go on when the server is to end.
    pub end_time: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            header_bytes: 16 << 10,
            header_time: Duration::from_secs(15),
            stall_time: Duration::from_secs(30),
            end_time: Duration::from_secs(5),
        }
    }
}

/// How to serve.
pub struct ServeOptions {
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where a line for each answer goes.
    pub access_log: Option<Box<dyn Write + Send>>,
    /// Whether `/metrics` is answered.
    pub metrics: bool,
    /// What clients can take.
    pub limits: ServeLimits,
}

/// How much a server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeReport {
    /// Number of answers.
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// Why there is no server.
// Most fields say by their names what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory cannot be read.
    #[error("cannot open '{}'", dir.display())]
    Directory { dir: PathBuf, source: io::Error },
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {listen}")]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    /// The system gives no threads or no events.
    #[error("cannot start the server")]
    Start { source: io::Error },
}

/// A server that listens; connections wait until [`Server::run`].
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<ServedSite>,
    limits: ServeLimits,
    log_writer: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the directory of a remote, and listens.
    pub fn bind(dir: &Path, options: ServeOptions) -> Result<Self, ServeError> {
        let ServeOptions {
            listen, metrics, ..
        } = options;
        let published = PublishedFiles::open(dir).map_err(|source| ServeError::Directory {
            dir: dir.to_owned(),
            source,
        })?;
        let bound = TcpListener::bind(listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| ServeError::Listen { listen, source })?;
        let counters = Arc::new(Metrics::default());
        let log = options
            .access_log
            .map(|sink| AccessLog::start(sink, &counters));
        let (log, log_writer) = log.unzip();
        let ledger = Ledger {
            metrics: counters,
            log: log.map(Arc::new),
        };
        Ok(Self {
            listener,
            address,
            site: Arc::new(ServedSite {
                published,
                ledger,
                has_metrics: metrics,
            }),
            limits: options.limits,
            log_writer,
        })
    }

    /// Returns the address that it listens on, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is set; then answers that have begun get a few seconds.
    pub fn run(self, stop: &AtomicBool) -> Result<ServeReport, ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("serve")
            .build()
            .map_err(|source| ServeError::Start { source })?;
        let metrics = Arc::clone(&self.site.ledger.metrics);
        let ran = runtime.block_on(accept(self.listener, self.site, self.limits, stop));
        // Ends what is left of connections, and with them the last senders of the log.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ran.map_err(|source| ServeError::Start { source })?;
        if let Some(writer) = self.log_writer {
            // A panic there was printed.
            let _ = writer.join();
        }
        let (answers, bytes) = metrics.totals();
        Ok(ServeReport { answers, bytes })
    }
}

/// Accepts connections until the server is to end, and waits for those that are answered.
async fn accept(
    listener: TcpListener,
    site: Arc<ServedSite>,
    limits: ServeLimits,
    stop: &AtomicBool,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections));
    let ending = GracefulShutdown::new();
    while !stop.load(Ordering::Relaxed) {
        let next = Box::pin(async {
            // Only closed semaphores refuse, and nobody closes this one.
            let seat = Arc::clone(&room).acquire_owned().await;
            (seat, listener.accept().await)
        });
        let (seat, accepted) = match select(next, Box::pin(tokio::time::sleep(TICK))).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = ending.watch(connection(stream, peer, &site, limits));
                let metrics = Arc::clone(&site.ledger.metrics);
                metrics.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // A client that went away, or that speaks something else, is no trouble of
                    // ours.
                    let _ = connection.await;
                    metrics.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(seat);
                });
            }
            // Out of descriptors, most likely: later there may be some.
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.end_time, ending.shutdown()).await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    site: &Arc<ServedSite>,
    limits: ServeLimits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    // Small answers go out at once; it only costs time where that fails.
    let _ = stream.set_nodelay(true);
    let site = Arc::clone(site);
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, std::convert::Infallible>(answer::answer(site, peer.ip(), request).await) }
    });
    let stream = TokioIo::new(StallGuard::new(stream, limits.stall_time));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .serve_connection(stream, service)
}
