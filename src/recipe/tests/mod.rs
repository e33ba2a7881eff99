//! Tests of more than one file of this module.

mod damage;
mod definition;
mod disk;
mod key;
mod lock;
mod shapes;
mod workspace;

use super::*;

/// A layer that uses every table.
const HELLO: &str = r##"
name = "hello"
description = "Says hello"
version = "1.2"
on = ["debian", "nginx"]
[apt]
packages = ["hello", "libc6:amd64"]
recommends = true
[files]
source = "root"
mode = { "usr/bin/hello" = "4755" }
owner = { "/srv/x" = "hello:#1000" }
[run]
scripts = ["setup.sh", "more/last.sh"]
env = { KEY = "value", A = "" }
[state]
"var/lib/postgresql" = "factory"
"var/lib/hello/*.tmp" = "drop"
[secrets]
"etc/ssl/private/a.key" = { run = "make-ssl-cert x", also = ["etc/ssl/certs/a.pem"] }
[health]
checks = [
  { name = "page", run = "curl -f http://127.0.0.1/", timeout = "500ms" },
  { unit = "nginx.service" },
  { http = "http://127.0.0.1:80/", expect = "hello", timeout = "2m" },
]
[services]
restart = ["nginx.service"]
live = true
[rebuild]
when = ["usr/lib/python3.*"]
"##;

fn definition(text: &str) -> Definition {
    Definition::parse(&SourceFile::new("layers/hello/layer.toml", text), "hello").unwrap()
}

fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
        sha256: "0f".repeat(32).parse().unwrap(),
        size: 4242,
        pool_path: format!("pool/main/{name}_{version}_amd64.deb"),
        archive: "trixie-security".into(),
        manual: true,
    }
}

#[test]
fn a_script_may_say_how_long_it_runs() {
    let timeout = |line: &str| {
        let text = format!("on = ['debian']\n[run]\nscripts = ['a']\n{line}\n");
        let source = SourceFile::new("layers/hello/layer.toml", text);
        let definition = Definition::parse(&source, "hello").ok()?;
        match definition.content {
            LayerContent::Upper(upper) => Some(upper.run.unwrap().timeout_ms),
            LayerContent::Base(_) => None,
        }
    };
    assert_eq!(timeout(""), Some(None));
    assert_eq!(timeout("timeout = '90m'"), Some(Some(5_400_000)));
    assert_eq!(timeout("timeout = 'long'"), None);
    assert_eq!(timeout("timeout = 90"), None);
}
