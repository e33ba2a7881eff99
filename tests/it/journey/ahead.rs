//! Looking before an update of a real image, and running what is in it afterwards.

use std::fs;

use super::shared::world;
use super::world::PAGE;
use crate::archive::UpdateArchive;
use crate::session::Session;

const CONF: &str = "layers/hello/files/etc/hello.conf";

#[test]
fn an_update_says_before_the_switch_what_it_does_to_services_and_to_etc() {
    let test = "an_update_says_before_the_switch_what_it_does_to_services_and_to_etc";
    let Some(at) = world(test) else {
        return;
    };
    fs::create_dir_all(at.path("layers/hello/files/etc")).unwrap();
    at.write(CONF, "one\ntwo\nthree\n");
    at.build();
    at.run("trust init ./remote --keys keys --root root.json")
        .expect(0);
    let publish =
        "publish web --to ./remote --keys keys --root root.json --channel stable --level 1";
    at.run(publish).expect(0);
    at.write(
        "trust.toml",
        "[[remote]]\nname = \"main\"\nlocation = \"./remote\"\nroot = \"root.json\"\n",
    );
    let machine = Session::new(at.dir.path(), &at.path("other"));
    machine.run("init").expect(0);
    machine
        .run("deploy --channel web/stable --target t2 --trust trust.toml")
        .expect(0);
    at.write(
        "t2/layerset/current/root/etc/hello.conf",
        "one\ntwo\nthree, edited\n",
    );

    at.write(CONF, "one\ntwo\nthree, from the image\n");
    at.edit(PAGE, "version 1", "version 2");
    at.build();
    at.run(publish).expect(0);
    let before = ["other/refs", "t2"].map(|name| at.stamps(name));
    let plan = "update --target t2 --trust trust.toml --dry-run";
    let planned = machine.run(&format!("{plan} --json")).expect(0).json();
    let text = machine.run(plan).expect(0).stdout;
    before.iter().for_each(|before| at.is_untouched(before));
    let units: Vec<&str> = planned["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["unit"].as_str().unwrap())
        .collect();
    assert_eq!(units, ["hello.service"], "{planned:#}");
    assert_eq!(
        planned["etc"]["conflicts"][0]["path"], "/etc/hello.conf",
        "{planned:#}"
    );
    assert_eq!(planned["packages"].as_array().unwrap().len(), 0);
    // A line of a page and of a file: the rest of the image is not fetched.
    assert!(
        planned["pull"]["bytes"].as_u64().unwrap() < 100_000,
        "{planned:#}"
    );
    assert!(text.contains("conflict in /etc/hello.conf"), "{text}");
    assert!(
        text.contains("layer 'hello' changes, and asks for it"),
        "{text}"
    );
    let taken = "update --target t2 --trust trust.toml --take-file /etc/hello.conf --json";
    let taken = machine.run(taken).expect(0).json();
    assert_eq!(taken["services"], planned["services"]);
    machine.run("deactivate --target t2").expect(0);
}

#[test]
fn newer_packages_are_told_with_what_runs_from_them_and_the_lock_stays() {
    let test = "newer_packages_are_told_with_what_runs_from_them_and_the_lock_stays";
    let Some(at) = world(test) else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    let out = at.path("archive");
    let (sources, _) = UpdateArchive::from(at.dir.path())
        .bump(&["nginx"])
        .make(&out);
    let names = ["repo/refs", "recipes", "layers", "t"];
    let before = names.map(|name| at.stamps(name));
    let line = format!(
        "update nginx --target t --apt-sources {}",
        sources.display()
    );
    let planned = at.json(&format!("{line} --dry-run --json"));
    before.iter().for_each(|before| at.is_untouched(before));
    let packages = planned["packages"].as_array().unwrap();
    assert!(
        packages.iter().any(|package| package["name"] == "nginx"),
        "{planned:#}"
    );
    assert!(
        planned["package_bytes"].as_u64().unwrap() > 0,
        "{planned:#}"
    );
    assert_eq!(planned["layers"][0]["name"], "nginx", "{planned:#}");
    let units = planned["services"].to_string();
    assert!(units.contains("nginx.service"), "{planned:#}");
    at.run(&format!("{line} --check")).expect(0);
    // A layer without packages is looked at too.
    at.run("update hello --target t --check")
        .expect(5)
        .shows("nothing new");
    at.edit(PAGE, "version 1", "version 2");
    at.run("update hello --target t --check")
        .expect(0)
        .shows("hello");
}

#[test]
fn programs_of_a_deployment_run_as_a_service_of_it_would() {
    let Some(at) = world("programs_of_a_deployment_run_as_a_service_of_it_would") else {
        return;
    };
    for (target, option) in [("t", ""), ("copy", "--copy")] {
        at.run(&format!("deploy web --target {target} {option}"))
            .expect(0);
        let run = |command: &[&str]| {
            let words = [&["run", "--target", target, "--"], command].concat();
            at.session.run_words(&words)
        };
        run(&["nginx", "-t"])
            .expect(0)
            .says(&["test is successful"]);
        // What it writes to /etc and /var stays; what it writes to /run and /tmp does not.
        let script = "echo kept > /etc/mark; echo kept > /var/lib/mark; echo x > /run/x; echo x > /tmp/x; \
                      test -c /dev/null; test -d /proc/self; touch /usr/x 2>/dev/null && exit 9; exit 7";
        run(&["sh", "-c", script]).expect(7);
        assert_eq!(
            at.read(&format!("{target}/layerset/current/root/etc/mark")),
            "kept\n"
        );
        assert_eq!(
            at.read(&format!("{target}/layerset/state/var/lib/mark")),
            "kept\n"
        );
        run(&["sh", "-c", "ls /run/x /tmp/x 2>/dev/null; true"])
            .expect(0)
            .silent();
        let private = format!("run --target {target} --private-network -- cat /proc/net/dev");
        let devices = at.run(&private).expect(0).stdout;
        assert_eq!(devices.lines().count(), 3, "{devices}");
        // Whoever has no tools but chroot comes in as well.
        let root = at.path(&format!("{target}/layerset/current/root"));
        let output = std::process::Command::new("chroot")
            .arg(root)
            .args(["cat", "/etc/mark"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "kept\n");
        at.run(&format!("deactivate --target {target}")).expect(0);
    }
    at.run("activate --target t").expect(0);
    let unit = at
        .run("run --target t --print-unit nginx.service")
        .expect(0)
        .stdout;
    let path = at.path("web-nginx.service");
    fs::write(&path, unit.replace("DIR", at.dir.path().to_str().unwrap())).unwrap();
    let root = "RootDirectory=DIR/t/layerset/current/root\n";
    assert!(unit.contains(root), "{unit}");
    assert!(unit.contains("ExecStart=/usr/sbin/nginx"), "{unit}");
    let hello = at
        .run("run --target t --print-unit hello.service")
        .expect(0)
        .stdout;
    let users: Vec<&str> = hello
        .lines()
        .filter_map(|line| line.strip_prefix("User="))
        .collect();
    assert!(
        users.iter().all(|user| user.parse::<u32>().is_ok()) && !users.is_empty(),
        "{hello}"
    );
    // systemd itself finds nothing wrong with it, where it is there to ask; it looks for the program on
    // the host.
    if let Ok(verified) = std::process::Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output()
    {
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let own: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("web-nginx") && !line.contains("is not executable"))
            .collect();
        assert!(own.is_empty(), "{said}");
    }
    at.run("run --target t --print-unit none.service")
        .expect(1)
        .says(&["has no service 'none.service'"]);
    at.run("deactivate --target t").expect(0);
    at.run("run --target t -- true")
        .expect(1)
        .says(&["is not mounted", "layerset activate"]);
}
