//! Which services a rollback restarts: those that run something else afterwards, and no others.

use super::*;
use crate::session::Session;

/// Three services: one differs by its program, one by the machine's own `/etc`, one not at all.
fn scene() -> (World, Session) {
    let world = World::new();
    let unit = |name: &str| format!("f [Service]\nExecStart=/usr/bin/{name}\n");
    let spec = |program: &str| {
        let units = ["moves", "told", "still"].map(unit);
        let mut spec = with(base(), &[]);
        let dirs = ["usr/bin", "usr/lib", "usr/lib/systemd"];
        let more = ["usr/lib/systemd/system", "etc/told"];
        spec.extend(dirs.iter().chain(&more).map(|dir| (*dir, "d".to_owned())));
        let [moves, told, still] = units;
        spec.insert("usr/lib/systemd/system/moves.service", moves);
        spec.insert("usr/lib/systemd/system/told.service", told);
        spec.insert("usr/lib/systemd/system/still.service", still);
        spec.insert("etc/told/told.conf", "f one\n".to_owned());
        spec.insert("usr/bin/moves", format!("f {program}\n"));
        spec.insert("usr/bin/told", "f told\n".to_owned());
        spec.insert("usr/bin/still", "f still\n".to_owned());
        spec
    };
    world.deploy(&world.image("1", &spec("old")));
    world.deploy(&world.image("2", &spec("new")));
    let (units, bin) = (world.dir.path().join("units"), world.dir.path().join("bin"));
    fs::create_dir(&units).unwrap();
    fs::create_dir(&bin).unwrap();
    let target = fs::canonicalize(world.root()).unwrap();
    for name in ["moves", "told", "still"] {
        let text = format!(
            "[Unit]\nX-LayersetTarget={}\nX-LayersetService={name}.service\n",
            target.display()
        );
        fs::write(units.join(format!("web-{name}.service")), text).unwrap();
    }
    let systemctl = bin.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >> \"$HOME/called\"\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let session = Session::new(world.dir.path(), world.repository.root());
    (world, session)
}

impl World {
    /// Rolls back and restarts; returns what was called, and what was said.
    fn restarting(&self, session: &Session, options: &str) -> (String, String, serde_json::Value) {
        let line = format!("rollback --target target --restart {options}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let path = std::env::var("PATH").unwrap();
        let bin = self.dir.path().join("bin");
        let _ = fs::remove_file(self.dir.path().join("called"));
        let ran = session
            .command(&words)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("SYSTEMD_UNIT_PATH", self.dir.path().join("units"))
            .output()
            .unwrap();
        let ran = session.ran(&line, ran).expect(0);
        let called = fs::read_to_string(self.dir.path().join("called")).unwrap_or_default();
        let json = serde_json::from_str(&ran.stdout).unwrap_or_default();
        (called, ran.stderr, json)
    }
}

#[test]
fn a_rollback_restarts_the_services_that_run_something_else_and_no_others() {
    if !is_root("a_rollback_restarts_the_services_that_run_something_else_and_no_others") {
        return;
    }
    let (world, session) = scene();
    let (called, _, json) = world.restarting(&session, "--json");
    assert_eq!(called, "try-restart -- web-moves.service\n");
    assert_eq!(
        json["services"],
        serde_json::json!([{ "unit": "moves.service", "reason": "/usr/bin/moves changes" }])
    );
    // The machine's own configuration differs too.
    fs::write(world.at("current/root/etc/told/told.conf"), "two\n").unwrap();
    let (called, ..) = world.restarting(&session, "--to 2");
    assert_eq!(
        called,
        "try-restart -- web-moves.service web-told.service\n"
    );
    // A rollback needs no repository; what it cannot say, it restarts.
    fs::rename(
        world.repository.root(),
        world.dir.path().join("repo-elsewhere"),
    )
    .unwrap();
    let (called, said, _) = world.restarting(&session, "--to 1");
    fs::rename(
        world.dir.path().join("repo-elsewhere"),
        world.repository.root(),
    )
    .unwrap();
    assert_eq!(
        called,
        "try-restart -- web-moves.service web-still.service web-told.service\n"
    );
    assert!(said.contains("without the repository"), "{said}");
}
