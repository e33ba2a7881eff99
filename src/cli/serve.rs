//! `layerset serve`.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Context, ui};
use crate::serve::{ServeLimits, ServeOptions, Server};

/// Serves the directory of a remote over HTTP.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset serve /srv/remote
  layerset serve /srv/remote --listen 0.0.0.0:8080 --access-log - --metrics

For labs: in production a web server or an object store serves the same files. Only what is
published is served, to whoever asks. SIGINT or SIGTERM ends it; answers that have begun get 5
seconds. The log is in the combined format, with milliseconds at the end of the line.")]
pub(super) struct Serve {
    /// The directory of a remote, as `layerset publish` makes it
    dir: PathBuf,
    /// The address to listen on; port 0 for one that is free
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Write a line for each answer to this file, or to standard output with '-'
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Answer /metrics, in the text format of Prometheus
    #[arg(long)]
    metrics: bool,
}

impl Serve {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let logs_to_stdout = self
            .access_log
            .as_deref()
            .is_some_and(|log| log == Path::new("-"));
        if logs_to_stdout && context.ui.is_json() {
            return Err(
                CliError::usage("--access-log - and --json both want standard output")
                    .with_hint("name a file for the access log"),
            );
        }
        // Before the address is printed: whoever reads it may send a signal at once.
        context.catch_interrupts()?;
        let server = Server::bind(
            &self.dir,
            ServeOptions {
                listen: self.listen,
                access_log: self.open_log()?,
                metrics: self.metrics,
                limits: ServeLimits::default(),
            },
        )?;
        let url = format!("http://{}/", server.address());
        let said = format!("serving '{}' at {url}", self.dir.display());
        context.ui.print_json(&serde_json::json!({
            "address": server.address(), "url": url, "directory": self.dir
        }))?;
        if logs_to_stdout {
            context.ui.remark(&said);
        } else {
            context.ui.print(&format!("{said}\n"));
        }
        if !server.address().ip().is_loopback() {
            context
                .ui
                .remark("whoever reaches this address can read what is published");
        }
        let served = server.run(&context.cancel)?;
        context.ui.remark(&format!(
            "{} answers, {}",
            served.answers,
            ui::size(served.bytes)
        ));
        Ok(())
    }

    fn open_log(&self) -> Result<Option<Box<dyn Write + Send>>, CliError> {
        let Some(path) = &self.access_log else {
            return Ok(None);
        };
        if path == Path::new("-") {
            return Ok(Some(ui::standard_output()));
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file
            .map_err(|error| CliError::io(format!("cannot write '{}'", path.display()), error))?;
        Ok(Some(Box::new(file)))
    }
}
