//! What people are told when something is wrong that a newcomer does: where it is, and what helps.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

use super::fixture::{Empty, empty, small};
use crate::session::{Session, transcripts};

/// Writes a recipe `web` of a base and a layer `site`, with the given texts.
fn recipe(at: &Empty, recipe: &str, base: &str, site: &str) {
    at.session.run("init").expect(0);
    at.write("recipes/web.toml", recipe);
    at.write("layers/base/layer.toml", base);
    at.write("layers/site/layer.toml", site);
    at.write("layers/site/files/srv/page.html", "page\n");
}

const RECIPE: &str = "layers = [\"base\", \"site\"]\n";
const BASE: &str = "[bootstrap]\nsuite = \"trixie\"\n";
const SITE: &str = "version = \"1\"\non = [\"base\"]\n\n[files]\n";

#[test]
fn all_mistakes_of_all_files_are_named_in_one_run() {
    let at = empty();
    recipe(
        &at,
        "layers = [\"base\", \"site\"]\narchitecture = \"x86_64\"\npolcy = 3\n",
        BASE,
        SITE,
    );
    let of_the_recipe = at.session.run("build recipes/web.toml");
    recipe(
        &at,
        RECIPE,
        "[bootstrap]\nsuite = \"trixie\"\nvariant = \"minbas\"\npackages = [\"ca certificates\", \"dbus\", \"-x\"]\n",
        "version = \"1\"\non = [\"base\"]\n\n[files]\nmodes = {}\nowner = { \"srv/page.html\" = \"www-data\" }\n\n\
         [run]\nscripts = [\"setup.sh\"]\ntimeout = \"soon\"\n\n[state]\n\"var/lib/shop\" = \"factry\"\n\"etc/shop\" = \"image\"\n",
    );
    let of_layers = at.session.run("build recipes/web.toml");
    insta::assert_snapshot!(transcripts(&[of_the_recipe, of_layers]), @r#"
    $ layerset build recipes/web.toml
    ! error: there are 2 mistakes:
    !   recipes/web.toml:2:16: unknown architecture 'x86_64' (did you mean 'amd64'?)
    !   recipes/web.toml:3:1: unknown key 'polcy' (did you mean 'policy'?)
    !    ╭─[recipes/web.toml:2:16]
    !  1 │ layers = ["base", "site"]
    !  2 │ architecture = "x86_64"
    !    ·                ────────
    !  3 │ polcy = 3
    !    ╰────
    !    ╭─[recipes/web.toml:3:1]
    !  2 │ architecture = "x86_64"
    !  3 │ polcy = 3
    !    · ─────
    !    ╰────
    [status 1]

    $ layerset build recipes/web.toml
    ! error: there are 8 mistakes:
    !   layers/base/layer.toml:3:11: unknown value 'minbas' of 'variant' (did you mean 'minbase'?)
    !   layers/base/layer.toml:4:13: 'ca certificates' is not a package name
    !   layers/base/layer.toml:4:40: '-x' is not a package name
    !   layers/site/layer.toml:5:1: unknown key 'modes' (did you mean 'mode'?)
    !   layers/site/layer.toml:6:29: 'www-data' is not an owner: write user and group, as in "root:adm"
    !   layers/site/layer.toml:10:11: 'soon' is not a duration: write e.g. "500ms", "10s" or "2m"
    !   layers/site/layer.toml:13:18: unknown value 'factry' of 'var/lib/shop' (did you mean 'factory'?)
    !   layers/site/layer.toml:14:1: 'etc/shop' is not below 'var/' (only what lies below 'var/' is state)
    !    ╭─[layers/base/layer.toml:3:11]
    !  2 │ suite = "trixie"
    !  3 │ variant = "minbas"
    !    ·           ────────
    !  4 │ packages = ["ca certificates", "dbus", "-x"]
    !    ╰────
    !    ╭─[layers/base/layer.toml:4:13]
    !  3 │ variant = "minbas"
    !  4 │ packages = ["ca certificates", "dbus", "-x"]
    !    ·             ─────────────────
    !    ╰────
    !    ╭─[layers/base/layer.toml:4:40]
    !  3 │ variant = "minbas"
    !  4 │ packages = ["ca certificates", "dbus", "-x"]
    !    ·                                        ────
    !    ╰────
    !    ╭─[layers/site/layer.toml:5:1]
    !  4 │ [files]
    !  5 │ modes = {}
    !    · ─────
    !  6 │ owner = { "srv/page.html" = "www-data" }
    !    ╰────
    !    ╭─[layers/site/layer.toml:6:29]
    !  5 │ modes = {}
    !  6 │ owner = { "srv/page.html" = "www-data" }
    !    ·                             ──────────
    !  7 │
    !    ╰────
    !     ╭─[layers/site/layer.toml:10:11]
    !   9 │ scripts = ["setup.sh"]
    !  10 │ timeout = "soon"
    !     ·           ──────
    !  11 │
    !     ╰────
    !     ╭─[layers/site/layer.toml:13:18]
    !  12 │ [state]
    !  13 │ "var/lib/shop" = "factry"
    !     ·                  ────────
    !  14 │ "etc/shop" = "image"
    !     ╰────
    !     ╭─[layers/site/layer.toml:14:1]
    !  13 │ "var/lib/shop" = "factry"
    !  14 │ "etc/shop" = "image"
    !     · ──────────
    !     ╰────
    [status 1]
    "#);
}

#[test]
fn what_is_not_there_yet_is_said_with_the_command_that_makes_it() {
    let at = empty();
    recipe(&at, RECIPE, BASE, SITE);
    let ran = [
        "build recipes/web.toml",
        "build recipes/wbe.toml",
        "build shop/web.toml",
        "deploy web --target target",
        "status --target target",
        "publish web --to ./remote --channel stable --root root.json",
    ];
    let mut ran: Vec<_> = ran.iter().map(|line| at.session.run(line)).collect();
    let elsewhere = Session::new(at.dir.path(), &at.dir.path().join("none"));
    ran.push(elsewhere.run("list"));
    insta::assert_snapshot!(transcripts(&ran), @r"
    $ layerset build recipes/web.toml
    ! error: there is no lock 'recipes/web.lock' yet
    ! hint: run `layerset lock recipes/web.toml` first, and keep the lock with the recipe
    [status 1]

    $ layerset build recipes/wbe.toml
    ! error: cannot read 'recipes/wbe.toml'
    ! caused by: No such file or directory (os error 2)
    ! hint: the recipes there are: recipes/web.toml
    [status 1]

    $ layerset build shop/web.toml
    ! error: cannot read 'shop/web.toml'
    ! caused by: No such file or directory (os error 2)
    [status 1]

    $ layerset deploy web --target target
    ! error: the repository has no image, layer or ref 'web'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset status --target target
    ! error: no target at 'DIR/target'
    ! hint: deploy an image there first
    [status 1]

    $ layerset publish web --to ./remote --channel stable --root root.json
    ! error: the repository has no image, layer or ref 'web'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset list
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]
    ");
}

#[test]
fn a_suite_or_component_that_no_archive_has_is_pointed_at() {
    let at = empty();
    at.write(
        "sources.list",
        "deb [trusted=yes] file:/nowhere trixie main contrib\n",
    );
    let lock = |base: &str| {
        recipe(&at, RECIPE, base, SITE);
        at.session
            .run("lock recipes/web.toml --apt-sources sources.list")
    };
    let ran = [
        lock("[bootstrap]\nsuite = \"trixi\"\n"),
        lock("[bootstrap]\nsuite = \"sid\"\n"),
        lock(
            "[bootstrap]\nsuite = \"trixie\"\ncomponents = [\"main\", \"contirb\"]\npockets = []\n",
        ),
        lock("[bootstrap]\nsuite = \"trixie\"\ncomponents = [\"universe\"]\npockets = []\n"),
    ];
    insta::assert_snapshot!(transcripts(&ran), @r#"
    $ layerset lock recipes/web.toml --apt-sources sources.list
    ! error: layers/base/layer.toml:2:9: no archive has the suite 'trixi' (did you mean 'trixie'?)
    !    ╭─[layers/base/layer.toml:2:9]
    !  1 │ [bootstrap]
    !  2 │ suite = "trixi"
    !    ·         ───────
    !    ╰────
    [status 1]

    $ layerset lock recipes/web.toml --apt-sources sources.list
    ! error: layers/base/layer.toml:2:9: no archive source for 'sid' (leave it out of 'pockets' (`pockets = []` for a suite without updates), or name the archives in [[bootstrap.sources]])
    !    ╭─[layers/base/layer.toml:2:9]
    !  1 │ [bootstrap]
    !  2 │ suite = "sid"
    !    ·         ─────
    !    ╰────
    [status 1]

    $ layerset lock recipes/web.toml --apt-sources sources.list
    ! error: layers/base/layer.toml:3:23: no archive has the component 'contirb' (did you mean 'contrib'?)
    !    ╭─[layers/base/layer.toml:3:23]
    !  2 │ suite = "trixie"
    !  3 │ components = ["main", "contirb"]
    !    ·                       ─────────
    !  4 │ pockets = []
    !    ╰────
    [status 1]

    $ layerset lock recipes/web.toml --apt-sources sources.list
    ! error: layers/base/layer.toml:3:15: no archive has the component 'universe' (known: contrib, main)
    !    ╭─[layers/base/layer.toml:3:15]
    !  2 │ suite = "trixie"
    !  3 │ components = ["universe"]
    !    ·               ──────────
    !  4 │ pockets = []
    !    ╰────
    [status 1]
    "#);
}

#[test]
fn keys_are_made_on_a_machine_that_has_no_configuration_yet() {
    let at = empty();
    let keys = at.dir.path().join("etc/layerset/keys");
    let session = Session::new(at.dir.path(), &at.dir.path().join("repo"));
    let session = session.with("LAYERSET_KEYS", &keys);
    session
        .run("trust init ./remote --root root.json")
        .expect(0);
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&keys), 0o700);
    assert_eq!(mode(keys.parent().unwrap()), 0o755);
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 4);
}

#[test]
fn a_channel_or_root_that_is_not_right_is_said_with_what_there_is() {
    let small = small();
    let dir = small.dir.path();
    for remote in ["one", "two"] {
        let line = format!("trust init ./{remote} --keys keys --root {remote}.json");
        small.session.run(&line).expect(0);
    }
    let publish = "publish web --to ./one --channel stable --keys keys";
    let policy = |text: &str| {
        let text = format!("[[remote]]\nname = \"main\"\nlocation = \"./one\"\n{text}");
        std::fs::write(dir.join("trust.toml"), text).unwrap();
    };
    let machine = Session::new(dir, &dir.join("machine"));
    machine.run("init").expect(0);
    policy("root = \"one.json\"\n");
    let empty_remote = machine.run("pull web/stable --trust trust.toml");
    small
        .session
        .run(&format!("{publish} --root one.json"))
        .expect(0);
    let mut ran = vec![
        empty_remote,
        small.session.run(&format!("{publish} --root two.json")),
        small.session.run(&format!("{publish} --root none.json")),
        machine.run("pull web/stabel --trust trust.toml"),
        machine.run("pull shop/beta --trust trust.toml"),
        machine.run("pull web/stable --trust trust.toml --remote mian"),
    ];
    policy("root = \"one.json\"\nchannels = [\"images/web/*\"]\n");
    ran.push(machine.run("pull shop/beta --trust trust.toml"));
    for root in ["two.json", "none.json"] {
        policy(&format!("root = \"{root}\"\n"));
        ran.push(machine.run("pull web/stable --trust trust.toml"));
    }
    insta::assert_snapshot!(transcripts(&ran), @r"
    $ layerset pull web/stable --trust trust.toml
    ! error: the remote has no channel 'images/web/stable'
    ! hint: nothing was published there yet: `layerset publish IMAGE --to REMOTE --channel NAME` does
    [status 3]

    $ layerset publish web --to ./one --channel stable --keys keys --root two.json
    ! error: role 'timestamp' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1
    ! hint: nothing was taken from there: either the trusted root is another remote's (compare it with the root.json that `layerset trust init` made for this one), or the mirror is not to be trusted: try another, and tell whoever runs this one
    [status 3]

    $ layerset publish web --to ./one --channel stable --keys keys --root none.json
    ! error: cannot read 'none.json'
    ! caused by: No such file or directory (os error 2)
    ! hint: name a file that is there: `layerset trust init` writes the root of a remote where its --root says
    [status 1]

    $ layerset pull web/stabel --trust trust.toml
    ! error: the remote has no channel 'images/web/stabel'
    ! hint: did you mean 'images/web/stable'?
    [status 3]

    $ layerset pull shop/beta --trust trust.toml
    ! error: the remote has no channel 'images/shop/beta'
    ! hint: it has: images/web/stable
    [status 3]

    $ layerset pull web/stable --trust trust.toml --remote mian
    ! error: the trust policy has no remote 'mian'
    ! hint: the policy has: main
    [status 2]

    $ layerset pull shop/beta --trust trust.toml
    ! error: the trust policy 'trust.toml' does not let this machine follow 'images/shop/beta' on any remote
    ! hint: it allows: images/web/*; add the channel to `channels` of a [[remote]] there
    [status 3]

    $ layerset pull web/stable --trust trust.toml
    ! error: role 'timestamp' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1
    ! hint: nothing was taken from there: either the trusted root is another remote's (compare it with the root.json that `layerset trust init` made for this one), or the mirror is not to be trusted: try another, and tell whoever runs this one
    [status 3]

    $ layerset pull web/stable --trust trust.toml
    ! error: cannot read 'none.json'
    ! caused by: No such file or directory (os error 2)
    ! hint: put the root.json that `layerset trust init` made there, or name it as 'none.json' in the trust policy
    [status 3]
    ");
}

#[test]
fn who_waits_is_told_for_whom_and_since_when() {
    let small = small();
    let lock = File::open(small.repo().join("lock")).unwrap();
    // Readers do not sign: the kernel knows them all the same.
    flock(&lock, FlockOperation::LockShared).unwrap();
    let ran = small.session.run("gc --lock-timeout 0").expect(1);
    let own = format!("(process {}, since 20", std::process::id());
    let ran = ran.says(&["is locked by ", &own, "hint: "]);
    drop(lock);
    assert!(ran.stderr.contains("REPO/lock"), "{}", ran.transcript());
}
