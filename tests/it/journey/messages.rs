//! What people are told when archives, scripts or the machine do not have what a recipe asks for.

use std::process::Command;

use super::shared::world;
use super::world::World;
use crate::session::{Ran, transcripts};

/// Changes a file for one command.
fn with(at: &World, file: &str, from: &str, to: &str, line: &str) -> Ran {
    let before = at.read(file);
    at.edit(file, from, to);
    let ran = at.run(line);
    at.write(file, &before);
    ran
}

#[test]
fn what_no_archive_has_is_pointed_at() {
    let Some(at) = world("what_no_archive_has_is_pointed_at") else {
        return;
    };
    let nginx = "layers/nginx/layer.toml";
    let ran = [
        "[\"ngnix\", \"perl\", \"hellq\"]",
        "[\"nginx=1.0\"]",
        "[\"nginx/sid\"]",
    ];
    let ran = ran.map(|to| with(&at, nginx, "[\"nginx\"]", to, "lock recipes/web.toml"));
    // What the archive has today is nobody's promise.
    let is_version = |word: &str| word.contains("deb13u");
    let text = transcripts(&ran);
    let words = text.split_inclusive([' ', ',', ')', '\n']);
    let text: String = words
        .map(|word| match is_version(word) {
            true => word
                .chars()
                .filter(|c| " ,)\n".contains(*c))
                .fold("VERSION".to_owned(), |all, c| all + &c.to_string()),
            false => word.to_owned(),
        })
        .collect();
    insta::assert_snapshot!(text, @r#"
    $ layerset lock recipes/web.toml
    ! fetching package lists
    ! error: there are 2 mistakes:
    !   layers/nginx/layer.toml:5:13: no package 'ngnix' in trixie, trixie-updates, trixie-security main (did you mean 'nginx'?)
    !   layers/nginx/layer.toml:5:30: no package 'hellq' in trixie, trixie-updates, trixie-security main (`apt-cache search WORD` finds names; another component, suite or archive ([[apt.sources]]) may have it)
    !    ╭─[layers/nginx/layer.toml:5:13]
    !  4 │ [apt]
    !  5 │ packages = ["ngnix", "perl", "hellq"]
    !    ·             ───────
    !  6 │
    !    ╰────
    !    ╭─[layers/nginx/layer.toml:5:30]
    !  4 │ [apt]
    !  5 │ packages = ["ngnix", "perl", "hellq"]
    !    ·                              ───────
    !  6 │
    !    ╰────
    [status 1]

    $ layerset lock recipes/web.toml
    ! fetching package lists
    ! [debian] resolving packages
    ! [nginx] resolving packages
    ! error: layers/nginx/layer.toml:5:13: no version '1.0' of 'nginx' (there is VERSION)
    !    ╭─[layers/nginx/layer.toml:5:13]
    !  4 │ [apt]
    !  5 │ packages = ["nginx=1.0"]
    !    ·             ───────────
    !  6 │
    !    ╰────
    [status 1]

    $ layerset lock recipes/web.toml
    ! fetching package lists
    ! [debian] resolving packages
    ! [nginx] resolving packages
    ! error: layers/nginx/layer.toml:5:13: no version 'sid' of 'nginx' (there is VERSION)
    !    ╭─[layers/nginx/layer.toml:5:13]
    !  4 │ [apt]
    !  5 │ packages = ["nginx/sid"]
    !    ·             ───────────
    !  6 │
    !    ╰────
    [status 1]
    "#);
    at.is_clean();
}

#[test]
fn a_script_that_wants_the_network_is_told_that_there_is_none() {
    let Some(at) = world("a_script_that_wants_the_network_is_told_that_there_is_none") else {
        return;
    };
    let script = "#!/usr/bin/perl\nuse Socket;\ndefined getaddrinfo_is() or die \"curl: (6) Could not resolve host: example.org\\n\";\n\
                  sub getaddrinfo_is { gethostbyname('example.org') }\n";
    at.write("layers/hello/setup.sh", script);
    let ran = at.run("build recipes/web.toml").expect(1);
    insta::assert_snapshot!(ran.transcript(), @r"
    $ layerset build recipes/web.toml
    ! [hello] starting
    ! [hello] composing the layers below
    ! [hello] running setup.sh
    ! error: layer 'hello': setup.sh failed
    ! caused by: '/run/layerset/script' failed with exit status: 11; the log is 'REPO/cache/logs/web.hello.log'
    ! hint: scripts have no network, so that a build gives the same every time: fetch what it needs beforehand into the layer's files/ ([files]), or name its package in [apt]; its last lines were:
    !   curl: (6) Could not resolve host: example.org
    [status 1]
    ");
    at.is_clean();
}

#[test]
fn two_layers_that_add_one_path_are_told_what_to_stand_on() {
    let Some(at) = world("two_layers_that_add_one_path_are_told_what_to_stand_on") else {
        return;
    };
    for name in ["shop", "blog"] {
        at.write(
            &format!("layers/{name}/layer.toml"),
            "version = \"1\"\non = [\"debian\"]\n\n[files]\n",
        );
        at.write(&format!("layers/{name}/files/etc/shop/conf"), name);
    }
    at.edit("recipes/web.toml", "\"hello\"]", "\"shop\", \"blog\"]");
    at.run("lock recipes/web.toml").expect(0);
    let ran = at.run("build recipes/web.toml -q").expect(3);
    insta::assert_snapshot!(ran.transcript(), @r#"
    $ layerset build recipes/web.toml -q
    ! error: the layers do not make a sound image:
    !   [blog] '/etc/shop/conf': two layers add it with different contents
    ! hint: add "shop" to `on` in layers/blog/layer.toml, then run `layerset lock RECIPE` and `layerset build RECIPE`: 'blog' is built above it then, and sees its files
    [status 3]
    "#);
}

#[test]
fn a_machine_that_cannot_build_is_told_before_anything_is_built() {
    let Some(at) = world("a_machine_that_cannot_build_is_told_before_anything_is_built") else {
        return;
    };
    at.append("layers/hello/setup.sh", "true\n");
    // As root of a container has it.
    let program = at.session.command(&["build", "recipes/web.toml"]);
    let mut limited = Command::new("setpriv");
    limited
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(at.path(""))
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let limited = at
        .session
        .ran("build recipes/web.toml", limited.output().unwrap());
    // Programs of this architecture run nowhere that this test runs.
    let foreign = "s390x";
    at.edit("recipes/web.toml", "\"amd64\"", &format!("\"{foreign}\""));
    let lock = at.read("recipes/web.lock");
    let other = lock.replacen("\"amd64\"", &format!("\"{foreign}\""), 1);
    at.write("recipes/web.lock", &other);
    let foreign = at.run("build recipes/web.toml");
    insta::assert_snapshot!(transcripts(&[limited, foreign]), @r"
    $ layerset build recipes/web.toml
    ! error: layer 'hello' cannot be built here: root lacks CAP_SYS_ADMIN
    ! hint: a container gives its root less than a machine does: start it with `docker run --privileged` or `podman run --privileged`, or build on a machine or in a virtual machine
    [status 1]

    $ layerset build recipes/web.toml
    ! error: layer 'debian' cannot be built here: programs of s390x do not run on this machine
    ! hint: `apt-get install arch-test qemu-user-binfmt` (qemu-user-static on Debian 12) lets them run here, slowly; or build on an s390x machine: `layerset lock` works anywhere
    [status 1]
    ");
    at.is_clean();
}
