//! Recipes, layers and locks on disk, checked against each other.

use std::fs;
use std::path::Path;

use super::*;

/// Makes `recipes/web.toml`, three layers and a lock; then writes `changes`, removing what is given
/// without text.
fn workspace(changes: &[(&str, Option<&str>)]) -> (tempfile::TempDir, Result<Workspace, String>) {
    let dir = tempfile::tempdir().unwrap();
    let usual = [
        (
            "recipes/web.toml",
            "layers = ['debian', 'nginx', 'php', 'hello']\n",
        ),
        (
            "layers/debian/layer.toml",
            "[bootstrap]\nsuite = 'trixie'\npackages = ['dash']\n",
        ),
        (
            "layers/nginx/layer.toml",
            "on = ['debian']\napt.packages = ['nginx']\n",
        ),
        (
            "layers/php/layer.toml",
            "on = ['debian']\napt.packages = ['php-fpm']\n",
        ),
        (
            "layers/hello/layer.toml",
            "on = ['nginx']\n[files]\nmode = { 'srv/x' = '0600' }\n[run]\nscripts = ['setup.sh']\n",
        ),
        ("layers/hello/setup.sh", "true\n"),
        ("layers/hello/files/srv/x", "hello\n"),
    ];
    let all = usual.iter().map(|(path, text)| (*path, Some(*text)));
    for (path, text) in all.chain(changes.iter().copied()) {
        let path = dir.path().join(path);
        match text {
            Some(text) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            None if path.is_dir() => fs::remove_dir_all(path).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }
    let opened = Workspace::open(&dir.path().join("recipes/web.toml"), None, "amd64");
    let opened = opened.map_err(|error| relative(&dir, &error));
    (dir, opened)
}

fn relative(dir: &tempfile::TempDir, error: &RecipeError) -> String {
    let root = format!("{}/", dir.path().display());
    error.to_string().replace(&root, "")
}

fn fault(changes: &[(&str, Option<&str>)]) -> String {
    workspace(changes).1.unwrap_err()
}

fn lock_text(layers: &[(&str, &[&str])]) -> String {
    let layers = layers.iter().map(|(name, packages)| LayerLock {
        name: (*name).into(),
        epoch: 7,
        requested: packages.iter().map(|p| (*p).to_owned()).collect(),
        packages: packages.iter().map(|p| package(p, "1")).collect(),
    });
    RecipeLock {
        version: LOCK_VERSION,
        recipe: "web".into(),
        architecture: "amd64".into(),
        layers: layers.collect(),
    }
    .to_toml()
}

const LOCKED: &[(&str, &[&str])] = &[
    ("debian", &["dash"]),
    ("nginx", &["nginx"]),
    ("php", &["php-fpm"]),
    ("hello", &[]),
];

#[test]
fn a_closure_is_transitive_in_the_recipes_order_and_leaves_siblings_out() {
    let (_dir, workspace) = workspace(&[(
        "layers/nginx/layer.toml",
        Some("on = ['debian']\napt.packages = ['nginx']\n"),
    )]);
    let workspace = workspace.unwrap();
    assert_eq!(workspace.closure("hello"), ["debian", "nginx"]);
    assert_eq!(workspace.closure("php"), ["debian"]);
    assert!(workspace.closure("debian").is_empty());
    assert!(workspace.layer("php").unwrap().dir.ends_with("layers/php"));
    let names: Vec<_> = workspace
        .layers()
        .iter()
        .map(|l| &l.definition.name)
        .collect();
    assert_eq!(names, ["debian", "nginx", "php", "hello"]);
}

#[test]
fn layers_are_found_beside_the_recipe_then_beside_its_folder_or_where_one_says() {
    let (dir, _) = workspace(&[]);
    let recipe = dir.path().join("web.toml");
    fs::rename(dir.path().join("recipes/web.toml"), &recipe).unwrap();
    let beside = Workspace::open(&recipe, None, "amd64").unwrap();
    assert_eq!(beside.layers_dir(), dir.path().join("layers"));
    assert_eq!(beside.lock_path(), dir.path().join("web.lock"));
    assert_eq!(beside.ids_path(), dir.path().join("layers/ids.toml"));
    assert_eq!(beside.read_ids().unwrap(), IdTable::default());
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(dir.path().join("layers"), &elsewhere).unwrap();
    assert!(Workspace::open(&recipe, None, "amd64").is_err());
    assert!(Workspace::open(&recipe, Some(&elsewhere), "amd64").is_ok());
}

#[test]
fn a_path_that_is_no_recipe_is_refused_with_the_reason() {
    for (path, expected) in [
        (
            "web",
            "'web' is not a recipe: its name does not end in '.toml'",
        ),
        (
            "Web.toml",
            "'Web.toml' is not a recipe: its name has other characters than a-z, 0-9, '+', '.', '-', '_'",
        ),
        ("no/such.toml", "cannot read 'no/such.toml'"),
    ] {
        let error = Workspace::open(Path::new(path), None, "amd64").unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn layers_that_do_not_fit_together_are_refused_at_the_place_that_says_so() {
    for (path, text, expected) in [
        (
            "recipes/web.toml",
            "layers = [\n  'debian',\n  'ngnix',\n]\n",
            "recipes/web.toml:3:3: there is no layer 'ngnix' in 'layers' (did you mean 'nginx'?)",
        ),
        (
            "recipes/web.toml",
            "layers = ['nginx', 'debian']\n",
            "recipes/web.toml:1:11: the first layer, 'nginx', is not a base (put what it is built on before it: debian)",
        ),
        (
            "recipes/web.toml",
            "layers = ['debian', 'hello', 'nginx']\n",
            "layers/hello/layer.toml:1:7: layer 'hello' is built on 'nginx', which stands after it in 'recipes/web.toml' (move 'nginx' before 'hello' there)",
        ),
        (
            "recipes/web.toml",
            "layers = ['debian', 'hello']\n",
            "layers/hello/layer.toml:1:7: layer 'hello' is built on 'nginx', which 'recipes/web.toml' does not list (add 'nginx' before 'hello' there)",
        ),
        (
            "layers/php/layer.toml",
            "on = ['debain']\napt.packages = ['php-fpm']\n",
            "layers/php/layer.toml:1:7: layer 'php' is built on 'debain', which 'recipes/web.toml' does not list (did you mean 'debian'?)",
        ),
        (
            "layers/php/layer.toml",
            "[bootstrap]\nsuite = 'sid'\n",
            "recipes/web.toml:1:30: 'php' is a second base, after 'debian' (a recipe has one base, its first layer)",
        ),
        (
            "layers/php/layer.toml",
            "on = ['debian']\nfiles = {}\n",
            "layers/php/layer.toml:2:9: 'layers/php/files' is not a folder",
        ),
        (
            "layers/hello/layer.toml",
            "on = ['debian']\n[files]\nowner = { 'srv/y' = 'a:b' }\n",
            "layers/hello/layer.toml:3:11: '/srv/y' is not in 'layers/hello/files'",
        ),
        (
            "layers/hello/layer.toml",
            "on = ['debian']\n[files]\n[run]\nscripts = ['setup.sh', 'files']\n",
            "layers/hello/layer.toml:4:24: 'layers/hello/files' is not a file",
        ),
        (
            "layers/hello/layer.toml",
            "on = ['debian']\nrun.scripts = ['setup.sh']\n",
            "layers/hello/layer.toml:1:1: there is a folder 'files', but no '[files]' (add '[files]' to copy it onto the root, or rename the folder)",
        ),
    ] {
        assert_eq!(fault(&[(path, Some(text))]), expected);
    }
    assert_eq!(
        fault(&[("layers", None)]),
        "recipes/web.toml:1:11: there is no layer 'debian' in 'layers' (give the folder of the layers with '--layers')"
    );
}

#[test]
fn a_lock_of_this_recipe_is_accepted() {
    let text = lock_text(LOCKED);
    let (_dir, workspace) = workspace(&[("recipes/web.lock", Some(&text))]);
    let workspace = workspace.unwrap();
    let lock = workspace.require_lock().unwrap();
    assert_eq!(lock.layers.len(), 4);
    assert_eq!(workspace.read_lock().unwrap(), Some(lock));
}

#[test]
fn a_missing_or_outdated_lock_says_to_lock_again() {
    let (dir, missing) = workspace(&[]);
    let missing = missing.unwrap();
    assert_eq!(missing.read_lock().unwrap(), None);
    assert_eq!(
        relative(&dir, &missing.require_lock().unwrap_err()),
        "there is no lock 'recipes/web.lock' yet"
    );
    for (text, expected) in [
        (
            lock_text(&LOCKED[..3]),
            "recipes/web.toml:1:37: layer 'hello' is not in 'recipes/web.lock' (run `layerset lock`)",
        ),
        (
            lock_text(LOCKED).replace("\"php-fpm\"", "\"php\""),
            "layers/php/layer.toml:2:17: package 'php-fpm' is not in 'recipes/web.lock' (run `layerset lock`)",
        ),
        (
            lock_text(LOCKED).replacen("\"amd64\"", "\"arm64\"", 1),
            "recipes/web.lock:4:16: the lock is for architecture 'arm64', not 'amd64' (run `layerset lock`)",
        ),
        (
            lock_text(LOCKED).replacen("\"web\"", "\"shop\"", 1),
            "recipes/web.lock:3:10: the lock is for recipe 'shop', not 'web' (run `layerset lock`)",
        ),
    ] {
        let (dir, opened) = workspace(&[("recipes/web.lock", Some(&text))]);
        let error = opened.unwrap().require_lock().unwrap_err();
        assert_eq!(relative(&dir, &error), expected);
    }
}

const KEY: &str =
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n";

/// A layer with one archive, whose table starts on line 4.
fn with_archive(on: &str, more: &str) -> String {
    format!(
        "on = ['{on}']\n[apt]\npackages = ['nginx']\n[[apt.sources]]\nuris = ['https://apt.example/x/']\n\
         suites = ['s']\ncomponents = ['main']\n{more}\n"
    )
}

#[test]
fn a_key_lies_in_the_folder_of_its_layer() {
    let text = with_archive("debian", "signed_by = 'keys/a.asc'");
    let at = "layers/nginx/layer.toml:8:13: ";
    let layer = ("layers/nginx/layer.toml", Some(text.as_str()));
    let key = ("layers/nginx/keys/a.asc", Some(KEY));
    let (_dir, good) = workspace(&[layer, key]);
    let archives = good.unwrap().layer("nginx").unwrap().archives().unwrap();
    assert_eq!(archives[0].key.as_deref(), Some(KEY.as_bytes()));
    assert!(archives[0].place.ends_with("layers/nginx/layer.toml:4:1"));
    for (wrong, said) in [
        (
            None,
            "cannot read the key 'layers/nginx/keys/a.asc': No such file",
        ),
        (
            Some("<html>"),
            "'layers/nginx/keys/a.asc' is a web page, not a key",
        ),
        (Some(""), "'layers/nginx/keys/a.asc' is empty"),
    ] {
        let changes = [layer, key, ("layers/nginx/keys/a.asc", wrong)];
        let error = fault(&changes);
        assert!(error.contains(&format!("{at}{said}")), "{error}");
    }
    // Links, a directory and a pipe in its place.
    let (dir, _) = workspace(&[layer, key, ("shared.asc", Some(KEY))]);
    let path = dir.path().join("layers/nginx/keys/a.asc");
    let open = || {
        let opened = Workspace::open(&dir.path().join("recipes/web.toml"), None, "amd64");
        opened.map_err(|error| relative(&dir, &error))
    };
    let outside = dir.path().join("shared.asc");
    fs::write(dir.path().join("layers/nginx/own.asc"), KEY).unwrap();
    for (target, leaves) in [
        (outside.as_path(), true),
        (Path::new("../../../shared.asc"), true),
        (Path::new("a.asc"), true),
        (Path::new("../own.asc"), false),
    ] {
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        match open() {
            Ok(_) => assert!(!leaves, "{}", target.display()),
            Err(error) => assert!(
                leaves && error.contains("is a link that leads out of the layer's folder"),
                "{}: {error}",
                target.display()
            ),
        }
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(open().unwrap_err().contains("is not a file"));
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert!(open().unwrap_err().contains("is not a file"));
}

#[test]
fn one_archive_has_one_key_in_all_layers() {
    let other = KEY.replace("AAAA", "BBBB");
    let named = |nginx: &str, php: &str| {
        let (nginx, php) = (with_archive("debian", nginx), with_archive("debian", php));
        let changes = [
            ("layers/nginx/layer.toml", Some(nginx.as_str())),
            ("layers/php/layer.toml", Some(php.as_str())),
            ("layers/nginx/a.asc", Some(KEY)),
            ("layers/php/a.asc", Some(KEY)),
            ("layers/php/b.asc", Some(other.as_str())),
        ];
        workspace(&changes).1.err()
    };
    let a = "signed_by = 'a.asc'";
    assert_eq!(named(a, a), None);
    assert_eq!(named(a, &format!("signed_by = '''{KEY}'''")), None);
    for php in [
        "signed_by = 'b.asc'",
        "",
        "trusted = true",
        "signed_by = 'a.asc'\ncheck_valid_until = false",
    ] {
        let error = named(a, php).unwrap();
        assert!(
            error.contains(
                "layers/php/layer.toml:4:1: the archive 'https://apt.example/x s' is named with another key or other trust at layers/nginx/layer.toml:4:1"
            ),
            "{error}"
        );
    }
    // In one definition too.
    let twice = with_archive("debian", a)
        + "[[apt.sources]]\nuris = ['https://apt.example/x']\nsuites = ['t', 's']\ncomponents = ['more']\n";
    let error = fault(&[
        ("layers/nginx/layer.toml", Some(&twice)),
        ("layers/nginx/a.asc", Some(KEY)),
    ]);
    assert!(error.contains("layers/nginx/layer.toml:9:1: "), "{error}");
}

#[test]
fn every_recipe_of_this_repository_opens() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for (recipes, layers) in [
        ("recipes", "layers"),
        ("fixtures/corpus/recipes", "fixtures/corpus/layers"),
    ] {
        for entry in fs::read_dir(top.join(recipes)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "toml") {
                let opened = Workspace::open(&path, Some(&top.join(layers)), "amd64");
                let problem = opened.map_or_else(|error| error.to_string(), |_| String::new());
                // `make machine-layer` puts the program there.
                let is_made = problem.contains("'/usr/bin/layerset' is not in");
                assert!(problem.is_empty() || is_made, "{problem}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn a_script_that_is_a_link_is_refused_as_one() {
    let (dir, _) = workspace(&[
        (
            "layers/hello/layer.toml",
            Some("on = ['debian']\nrun.scripts = ['a.sh']\n"),
        ),
        ("layers/php/a.sh", Some("#!/bin/sh\n")),
    ]);
    let link = dir.path().join("layers/hello/a.sh");
    std::os::unix::fs::symlink("../php/a.sh", link).unwrap();
    let opened = Workspace::open(&dir.path().join("recipes/web.toml"), None, "amd64");
    let message = opened.unwrap_err().to_string();
    assert!(message.contains("a.sh' is a symbolic link"), "{message}");
}
