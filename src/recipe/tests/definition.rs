//! What `layer.toml` may say, and where errors point.

use super::*;
use crate::path::RelPath;
use crate::tree::Owner;

fn rel(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

#[test]
fn every_key_of_a_layer_is_read() {
    let hello = definition(HELLO);
    assert_eq!(hello.on(), ["debian", "nginx"]);
    assert_eq!(hello.packages(), ["hello", "libc6:amd64"]);
    assert!(hello.apt().unwrap().recommends && hello.bootstrap().is_none());
    let files = hello.files().unwrap();
    assert_eq!(files.source, rel("root"));
    assert_eq!(files.mode[&rel("usr/bin/hello")], 0o4755);
    let owner = (Owner::Name("hello".into()), Owner::Number(1000));
    assert_eq!(files.owner[&rel("srv/x")], owner);
    let run = hello.run().unwrap();
    assert_eq!(run.scripts, [rel("setup.sh"), rel("more/last.sh")]);
    assert_eq!(run.env["KEY"], "value");
    let state: Vec<_> = hello
        .state
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.class))
        .collect();
    assert_eq!(
        state,
        [
            ("var/lib/hello/*.tmp", StateClass::Drop),
            ("var/lib/postgresql", StateClass::Factory)
        ]
    );
    let secret = &hello.secrets[&rel("etc/ssl/private/a.key")];
    assert_eq!(secret.also, [rel("etc/ssl/certs/a.pem")]);
    let health: Vec<_> = hello
        .health
        .iter()
        .map(|check| (check.name.as_str(), check.timeout_ms))
        .collect();
    assert_eq!(
        health,
        [
            ("page", 500),
            ("nginx.service", 30_000),
            ("http://127.0.0.1:80/", 120_000)
        ]
    );
    assert_eq!(hello.restart, ["nginx.service"]);
    assert!(!hello.forbids_live);
    let other = definition("on = ['debian']\n[files]\n[services]\nlive = false\n");
    assert!(other.forbids_live);
    assert!(hello.rebuild_when[0].matches(b"usr/lib/python3.13/os.py"));
}

#[test]
fn what_looks_like_a_secret_may_be_allowed_with_a_reason() {
    let text = "on = ['debian']\n[files]\n[secrets]\n'etc/k' = { run = 'x' }\n\
                allow = [{ path = '/opt/test/*.pem', reason = 'of the tests' }]\n";
    let definition = definition(text);
    assert_eq!(definition.secrets.len(), 1);
    let [allowed] = definition.allowed_secrets.as_slice() else {
        panic!("{:?}", definition.allowed_secrets);
    };
    assert_eq!(allowed.paths.as_str(), "opt/test/*.pem");
    assert_eq!(allowed.reason, "of the tests");
}

#[test]
fn a_base_has_the_defaults_of_a_small_updated_system() {
    let base = definition("[bootstrap]\nsuite = 'trixie'");
    let bootstrap = base.bootstrap().unwrap();
    assert_eq!(bootstrap.components, ["main"]);
    assert_eq!(bootstrap.pockets, [Pocket::Updates, Pocket::Security]);
    assert_eq!(bootstrap.variant, BootstrapVariant::Minbase);
    assert_eq!(base.effective_version(None), Some("trixie"));
    let frozen = definition("[bootstrap]\nsuite = 'trixie'\npockets = []\nvariant = 'apt'");
    assert!(frozen.bootstrap().unwrap().pockets.is_empty());
}

#[test]
fn a_version_comes_from_the_author_or_the_first_package_named() {
    let lock = LayerLock {
        name: "hello".into(),
        epoch: 7,
        requested: Vec::new(),
        packages: vec![package("aaa", "9"), package("nginx", "1.26-2")],
    };
    let apt = definition("on = ['debian']\napt.packages = ['nginx', 'aaa']");
    assert_eq!(apt.effective_version(Some(&lock)), Some("1.26-2"));
    assert_eq!(apt.effective_version(None), None);
    assert_eq!(
        definition(HELLO).effective_version(Some(&lock)),
        Some("1.2")
    );
}

#[test]
fn faults_point_at_the_place_and_say_what_to_write() {
    for (text, expected) in [
        (
            "on = ['debian']\n[apt]\npakages = ['nginx']\n",
            "3:1: unknown key 'pakages' (did you mean 'packages'?)",
        ),
        (
            "on = ['debian']\n[apt]\npackages = ['nginx']\n\n[oci]\nref = 'x'\n",
            "5:2: unknown key 'oci' (known: name, description, version, bootstrap, files, run, state, secrets, health, services, rebuild)",
        ),
        (
            "name = 'hallo'\non = ['debian']\n",
            "1:8: the name 'hallo' differs from the folder's name, 'hello' (rename one of them, or leave 'name' out)",
        ),
        (
            "on = ['debian']\n",
            "1:1: the layer has no content (add '[bootstrap]' for a base, or any of '[apt]', '[files]' and '[run]')",
        ),
        (
            "[apt]\npackages = ['nginx']\n",
            "1:1: missing key 'on' (name the layers it is built on, e.g. on = [\"debian\"])",
        ),
        ("on = []\n[files]\n", "1:6: 'on' names no layer"),
        (
            "on = ['debian', 'hello']\n[files]\n",
            "1:17: the layer cannot be built on itself",
        ),
        (
            "on = ['debian']\n[bootstrap]\nsuite = 'trixie'\n",
            "1:1: a base cannot have 'on' (a base stands on nothing: remove 'on' or '[bootstrap]')",
        ),
        (
            "[bootstrap]\nsuite = 'trixie'\n[apt]\npackages = ['x1']\n",
            "3:2: a base cannot have '[apt]' (packages of a base go into 'bootstrap.packages', the rest into a layer on it)",
        ),
        ("[bootstrap]\n", "1:1: missing key 'bootstrap.suite'"),
        (
            "[bootstrap]\nsuite = 'trixie'\nvariant = 'minbas'\n",
            "3:11: unknown value 'minbas' of 'variant' (did you mean 'minbase'?)",
        ),
        (
            "[bootstrap]\nsuite = 'trixie'\npockets = ['backports']\n",
            "3:12: unknown value 'backports' of 'pockets' (known: security, updates)",
        ),
        (
            "[bootstrap]\nsuite = '-oDir=x'\n",
            "2:9: '-oDir=x' is not the name of a suite or component",
        ),
        (
            "on = ['debian']\napt.packages = ['nginx=1.26; rm']\n",
            "2:17: 'nginx=1.26; rm' is not a package name",
        ),
        (
            "on = ['debian']\napt.packages = ['a1', 'a1']\n",
            "2:23: 'a1' is listed twice",
        ),
        (
            "on = ['debian']\napt.packages = []\n",
            "2:16: 'apt.packages' is empty",
        ),
        (
            "on = ['debian']\n[files]\nmode = { 'usr/bin/x' = 755 }\n",
            "3:24: 'files.mode.usr/bin/x' must be a string, not an integer",
        ),
        (
            "on = ['debian']\n[files]\nmode = { 'usr/bin/x' = 'rwx' }\n",
            "3:24: 'rwx' is not a mode: write octal digits, as in \"0755\"",
        ),
        (
            "on = ['debian']\n[files]\nowner = { '../x' = 'a:b' }\n",
            "3:11: '../x' is not a path inside an image: it has a '.' or '..' component",
        ),
        (
            "on = ['debian']\n[files]\nowner = { 'x' = 'a:b', '/x' = 'a:c' }\n",
            "3:24: '/x' is given twice",
        ),
        (
            "on = ['debian']\n[files]\nsource = '/etc'\n",
            "3:10: '/etc' is absolute: it must lie in the layer's folder",
        ),
        ("on = ['debian']\n[run]\n", "2:1: missing key 'run.scripts'"),
        (
            "on = ['debian']\n[run]\nscripts = ['a']\nenv = { 'A-B' = '' }\n",
            "4:9: 'A-B' is not the name of an environment variable",
        ),
        (
            "on = ['debian']\n[files]\n[state]\n'etc/x' = 'image'\n",
            "4:1: 'etc/x' is not below 'var/' (only what lies below 'var/' is state)",
        ),
        (
            "on = ['debian']\n[files]\n[state]\n'var/x' = 'factroy'\n",
            "4:11: unknown value 'factroy' of 'var/x' (did you mean 'factory'?)",
        ),
        (
            "on = ['debian']\n[files]\n[state]\n'var/**x' = 'image'\n",
            "4:1: bad pattern: '**' must be a whole component",
        ),
        (
            "on = ['debian']\n[files]\n[secrets]\n'etc/k' = { runs = 'x' }\n",
            "4:13: unknown key 'runs' (did you mean 'run'?)",
        ),
        (
            "on = ['debian']\n[files]\n[secrets]\nallow = [{ path = 'etc/k' }]\n",
            "4:10: missing key 'secrets.allow.reason'",
        ),
        (
            "on = ['debian']\n[files]\n[secrets]\nallow = [{ path = 'etc/k', reason = ' ' }]\n",
            "4:37: the reason is empty: say why everybody may have this",
        ),
        (
            "on = ['debian']\n[files]\n[health]\nchecks = [{ run = 'x', unit = 'a.service' }]\n",
            "4:11: a check has exactly one of 'run', 'unit', 'http', 'tcp', 'file' and 'reachable'",
        ),
        (
            "on = ['debian']\n[files]\n[health]\nchecks = [{ run = 'x', timeout = '10' }]\n",
            "4:34: '10' is not a duration: write e.g. \"500ms\", \"10s\" or \"2m\"",
        ),
        (
            "on = ['debian']\n[files]\n[health]\nchecks = [{ unit = 'a.service', expect = 'x' }]\n",
            "4:33: 'expect' goes with 'http' only",
        ),
        (
            "on = ['debian']\n[files]\n[health]\nchecks = [{ run = 'x' }, { run = 'x' }]\n",
            "4:26: there are two checks called 'x' (give one of them another 'name')",
        ),
        (
            "on = ['debian']\n[files]\n[services]\nrestart = ['nginx']\n",
            "4:12: 'nginx' is not a unit: write it with its type, as in 'nginx.service'",
        ),
        (
            "on = ['debian'\n[files]\n",
            "2:1: missing comma between array elements, expected `,`",
        ),
    ] {
        let source = SourceFile::new("layers/hello/layer.toml", text);
        let error = Definition::parse(&source, "hello").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("layers/hello/layer.toml:{expected}"),
            "{text}"
        );
    }
}
