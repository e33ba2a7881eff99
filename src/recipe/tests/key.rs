//! What changes a build key, and what must not.

use super::*;
use crate::id::{BuildKey, ObjectId};
use crate::path::RelPath;

/// Owned inputs that a test changes one of.
#[derive(Clone)]
struct Inputs {
    text: String,
    files: Vec<FileInput>,
    scripts: Vec<(RelPath, ObjectId)>,
    lock: LayerLock,
    ids: String,
    architecture: &'static str,
    epoch: Option<i64>,
    builder: u32,
}

fn inputs() -> Inputs {
    let file = |path: &str, content| FileInput {
        path: RelPath::from_text(path).unwrap(),
        mode: 0o644,
        content,
    };
    let script = |name: &str| {
        (
            RelPath::from_text(name).unwrap(),
            ObjectId::of(name.as_bytes()),
        )
    };
    Inputs {
        text: HELLO.into(),
        files: vec![
            file("etc/a", FileContent::File(ObjectId::of(b"a"))),
            file("etc/b", FileContent::Link((*b"a").into())),
            file("etc/d", FileContent::Directory),
        ],
        scripts: vec![script("setup.sh"), script("more/last.sh")],
        lock: LayerLock {
            name: "hello".into(),
            epoch: 7,
            requested: Vec::new(),
            packages: vec![package("hello", "2.10"), package("libc6", "2.41")],
        },
        ids: "users.hello = 100\ngroups.hello = 100\n".into(),
        architecture: "amd64",
        epoch: None,
        builder: 1,
    }
}

fn key(inputs: &Inputs) -> BuildKey {
    build_key(&KeyInputs {
        definition: &definition(&inputs.text),
        files: &inputs.files,
        scripts: &inputs.scripts,
        lock: Some(&inputs.lock),
        ids: &IdTable::parse(&SourceFile::new("ids.toml", inputs.ids.as_str())).unwrap(),
        architecture: inputs.architecture,
        epoch: inputs.epoch,
        builder_version: inputs.builder,
    })
}

fn with(change: impl FnOnce(&mut Inputs)) -> BuildKey {
    let mut changed = inputs();
    change(&mut changed);
    key(&changed)
}

fn with_text(from: &str, to: &str) -> BuildKey {
    assert!(HELLO.contains(from), "{from}");
    with(|i| i.text = HELLO.replacen(from, to, 1))
}

#[test]
fn comments_spaces_descriptions_and_the_order_of_sets_do_not_change_the_key() {
    let key = key(&inputs());
    for (from, to) in [
        ("name = \"hello\"\n", ""),
        ("Says hello", "Says another thing"),
        ("[apt]", "# a comment\n\n   [apt] # here too"),
        (
            "packages = [\"hello\", \"libc6:amd64\"]",
            "packages=['libc6:amd64','hello',]",
        ),
        ("[\"debian\", \"nginx\"]", "[\"nginx\", \"debian\"]"),
        ("\"500ms\"", "'''500ms'''"),
        ("\"2m\"", "\"120s\""),
        ("\"usr/bin/hello\"", "\"/usr/bin/hello\""),
        ("KEY = \"value\", A = \"\"", "A = \"\", KEY = \"value\""),
        // How long a script may run changes no layer.
        (
            "env = { KEY = \"value\", A = \"\" }",
            "env = { KEY = \"value\", A = \"\" }\ntimeout = \"2h\"",
        ),
    ] {
        assert_eq!(with_text(from, to), key, "{from}");
    }
    assert_eq!(with(|i| i.files.reverse()), key);
    assert_eq!(with(|i| i.lock.packages.reverse()), key);
    assert_eq!(with(|i| i.lock.packages[0].archive = "trixie".into()), key);
    assert_eq!(with(|i| i.ids = format!("# x\n{}", i.ids)), key);
}

#[test]
fn everything_that_a_layer_is_made_of_changes_the_key() {
    let mut keys = vec![key(&inputs())];
    for (from, to) in [
        ("\"1.2\"", "\"1.3\""),
        ("\"debian\", ", ""),
        ("recommends = true", "recommends = false"),
        ("\"libc6:amd64\"", "\"libc6:i386\""),
        ("hello:#1000", "hello:hello"),
        ("KEY = \"value\"", "KEY = \"other\""),
        ("\"factory\"", "\"image\""),
        ("*.tmp\"", "*.bak\""),
        ("make-ssl-cert x", "make-ssl-cert y"),
        ("certs/a.pem", "certs/b.pem"),
        (
            "[secrets]",
            "[secrets]\nallow = [{ path = \"a\", reason = \"b\" }]",
        ),
        (
            "[secrets]",
            "[secrets]\nallow = [{ path = \"a\", reason = \"c\" }]",
        ),
        ("expect = \"hello\"", "expect = \"hallo\""),
        ("\"500ms\"", "\"501ms\""),
        ("[\"nginx.service\"]", "[\"nginx.service\", \"x.service\"]"),
        ("python3.*", "python3.1*"),
        ("live = true", "live = false"),
    ] {
        keys.push(with_text(from, to));
    }
    keys.push(with(|i| i.files[0].mode = 0o755));
    keys.push(with(|i| {
        i.files[0].content = FileContent::File(ObjectId::of(b"b"))
    }));
    keys.push(with(|i| {
        i.files[1].content = FileContent::Link((*b"b").into())
    }));
    keys.push(with(|i| drop(i.files.pop())));
    keys.push(with(|i| i.scripts.swap(0, 1)));
    keys.push(with(|i| i.scripts[0].1 = ObjectId::of(b"other")));
    keys.push(with(|i| i.lock.packages[1].version = "2.42".into()));
    keys.push(with(|i| {
        i.lock.packages[1].sha256 = "00".repeat(32).parse().unwrap()
    }));
    keys.push(with(|i| i.lock.packages[1].manual = false));
    keys.push(with(|i| {
        i.ids = "users.hello = 101\ngroups.hello = 100\n".into()
    }));
    keys.push(with(|i| {
        i.ids = "users.hello = 100\ngroups.hello = 101\n".into()
    }));
    keys.push(with(|i| i.architecture = "arm64"));
    keys.push(with(|i| i.epoch = Some(0)));
    keys.push(with(|i| i.builder = 2));
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// A change here makes every machine rebuild every layer: raise the version in the context, and
/// mean it.
#[test]
fn the_key_of_known_inputs_is_golden() {
    assert_eq!(
        key(&inputs()).to_hex(),
        "8dd095d865fc7185ef3df798049f061c0d213fe35e9f860f99585fef8fd2bf83"
    );
    let small = definition("[bootstrap]\nsuite = 'trixie'");
    let text = canonical_inputs(&KeyInputs {
        definition: &small,
        files: &[],
        scripts: &[],
        lock: None,
        ids: &IdTable::default(),
        architecture: "amd64",
        epoch: None,
        builder_version: 1,
    });
    assert_eq!(
        text,
        concat!(
            r#"{"architecture":"amd64","builder":1,"definition":{"content":{"bootstrap":{"components":["main"],"#,
            r#""packages":[],"pockets":["updates","security"],"suite":"trixie","variant":"minbase"}},"health":[],"#,
            r#""name":"hello","rebuild":[],"restart":[],"secrets":{},"state":{},"version":"trixie"},"epoch":null,"#,
            r#""files":[],"groups":{},"packages":null,"scripts":[],"users":{}}"#
        )
    );
}
