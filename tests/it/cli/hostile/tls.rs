//! Remotes behind TLS: who is trusted comes from the machine, and who is not is told why.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::World;
use super::world::{honest, numberless};
use crate::remote::servers::WebServer;
use crate::session::Ran;

/// An authority and the certificates that it makes, by `openssl`.
struct Authority {
    dir: PathBuf,
}

/// What `openssl ca` wants to be told; it keeps its books in the directory that it works in.
const CA: &str = "[ca]\ndefault_ca = ours\n[ours]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\npolicy = any\n\
    default_md = sha256\n[any]\ncommonName = supplied\n";

/// A day that is over.
const PAST: &str = "-startdate 20200101000000Z -enddate 20200102000000Z";

fn openssl(dir: &Path, line: &str) {
    let mut command = Command::new("openssl");
    command.args(line.split(' ')).current_dir(dir);
    let output = command.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {line}: {said}");
}

impl Authority {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let name = dir.file_name().unwrap().to_str().unwrap();
        openssl(
            dir,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={name} -keyout ca.key -out ca.pem"
            ),
        );
        Self {
            dir: dir.to_owned(),
        }
    }

    fn pem(&self) -> String {
        self.dir.join("ca.pem").display().to_string()
    }

    /// Makes a certificate for `names`, and returns what it takes to serve with it.
    ///
    /// Only `openssl ca` can date one back with old and new versions: `x509 -days -1` is an error since 3.5.
    fn certificate(&self, names: &str, validity: &str) -> Arc<ServerConfig> {
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.dir.join("extensions"), extensions).unwrap();
        std::fs::write(self.dir.join("index"), "").unwrap();
        std::fs::write(self.dir.join("ca.conf"), CA).unwrap();
        openssl(
            &self.dir,
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout server.key -out server.csr",
        );
        openssl(
            &self.dir,
            &format!(
                "ca -batch -notext -config ca.conf -in server.csr -cert ca.pem -keyfile ca.key {validity} -extfile extensions -out server.pem"
            ),
        );
        let certificate = CertificateDer::from_pem_file(self.dir.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.dir.join("server.key")).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Arc::new(config.unwrap())
    }
}

/// Ends TLS in front of a server; one thread and one request a connection.
struct Front {
    url: String,
    ended: Arc<AtomicBool>,
}

impl Front {
    fn start(server: &WebServer, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let upstream = server.url.trim_start_matches("http://").to_owned();
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (config, upstream) = (Arc::clone(&config), upstream.clone());
                std::thread::spawn(move || pass(stream, config, &upstream));
            }
        });
        Self { url, ended }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("https://"));
    }
}

fn pass(client: TcpStream, config: Arc<ServerConfig>, upstream: &str) -> Option<()> {
    let mut client = StreamOwned::new(ServerConnection::new(config).ok()?, client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    server.write_all(&head).ok()?;
    // That was all: the server closes once it has answered.
    server.shutdown(Shutdown::Write).ok()?;
    std::io::copy(&mut server, &mut client).ok()?;
    client.conn.send_close_notify();
    client.flush().ok()
}

/// Pulls from `front` on a new machine, whose authorities are those of a file.
fn pull(world: &World, machine: &str, url: &str, authorities: &str) -> Ran {
    world.another_machine(machine);
    let trust = world.policy(machine, &[url]);
    let line = format!("pull web/stable --trust {}", trust.display());
    let mut command = world.pull_command(machine, &line);
    command
        .env("SSL_CERT_FILE", authorities)
        .env_remove("SSL_CERT_DIR");
    let mut ran = world.ran(machine, command.output().unwrap());
    ran.stderr = ran.stderr.replace(url, "FRONT");
    ran
}

#[test]
fn a_remote_is_trusted_by_the_machines_authorities_and_refused_with_the_reason() {
    let world = World::new();
    let mirror = world.mirror("tls");
    let server = WebServer::ruled(&mirror.dir, honest);
    let ours = Authority::new(&world.path("ours"));
    let right = Front::start(&server, ours.certificate("IP:127.0.0.1", "-days 30"));
    pull(&world, "trusted", &right.url, &ours.pem()).expect(0);
    world.has_release("trusted", 2);

    let theirs = Authority::new(&world.path("theirs"));
    let mut told = Vec::new();
    let mut refuse = |machine: &str, front: &Front, authorities: &str| {
        let asked = server.seen().len();
        let ran = pull(&world, machine, &front.url, authorities).expect(1);
        assert_eq!(server.seen().len(), asked, "nothing may be asked of it");
        told.push(format!("{machine}: {}", numberless(ran.stderr.trim())));
    };
    refuse("stranger", &right, &theirs.pem());
    let other = Front::start(&server, ours.certificate("DNS:other.example", "-days 30"));
    refuse("other-name", &other, &ours.pem());
    let old = Front::start(&server, ours.certificate("IP:127.0.0.1", PAST));
    refuse("expired", &old, &ours.pem());
    // A machine without authorities: nothing behind TLS, and what is not.
    refuse("bare", &right, "/nowhere");
    insta::assert_snapshot!(told.join("\n"), @r#"
    stranger: error: 'FRONT' cannot be trusted: no authority that this machine knows has signed its certificate
    hint: if that server is yours, make its authority known to this machine (ca-certificates), or name its file in SSL_CERT_FILE
    other-name: error: 'FRONT' cannot be trusted: its certificate is for DnsName("other.example")
    hint: name the remote as its certificate does
    expired: error: 'FRONT' cannot be trusted: its certificate has expired, or the clock of this machine is wrong
    hint: set the clock, or have the certificate renewed
    bare: error: 'FRONT' cannot be trusted: no authority that this machine knows has signed its certificate
    hint: if that server is yours, make its authority known to this machine (ca-certificates), or name its file in SSL_CERT_FILE
    "#);
    pull(&world, "bare-plain", &server.url, "/nowhere").expect(0);
}
