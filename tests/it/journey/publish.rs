//! A real image goes from one build server to another, and to a machine.

use super::shared::world;
use super::world::{PAGE, actions, row};
use crate::session::Session;

#[test]
fn a_build_server_that_pulled_an_image_builds_none_of_its_layers() {
    let Some(at) = world("a_build_server_that_pulled_an_image_builds_none_of_its_layers") else {
        return;
    };
    at.run("trust init ./remote --keys keys --root root.json")
        .expect(0);
    let publish =
        "publish web --to ./remote --keys keys --root root.json --channel stable --level 1 --json";
    let first = at.json(publish);
    at.write(
        "trust.toml",
        "[[remote]]\nname = \"main\"\nlocation = \"./remote\"\nroot = \"root.json\"\n",
    );

    let other = Session::new(at.dir.path(), &at.path("other"));
    other.run("init").expect(0);
    let pull = "pull web/stable --trust trust.toml --json";
    let pulled = other.run(pull).expect(0).json();
    let bytes = pulled["received_bytes"].as_u64().unwrap();
    let sent = first["outcome"]["bytes_sent"].as_u64().unwrap();
    assert!(bytes < sent + (64 << 10), "{bytes} of {sent} bytes");
    other.run("fsck").expect(0);

    let ids = at.read("layers/ids.toml");
    let built = other.run("build recipes/web.toml --json").expect(0).json();
    let kept = ["debian", "nginx", "hello"].map(|name| row(name, "kept", 0));
    assert_eq!(actions(&built), kept);
    assert_eq!(built["image"], pulled["id"]);
    assert_eq!(at.read("layers/ids.toml"), ids);

    // One line of one layer: everything else is where it was, on both sides.
    at.edit(PAGE, "version 1", "version 2");
    at.build();
    let second = at.json(publish);
    let sent = second["outcome"]["bytes_sent"].as_u64().unwrap();
    // The tree of the whole image is among it, for those who pull it anew.
    assert!(sent < 600_000, "{sent} bytes");
    let pulled = other.run(pull).expect(0).json();
    let bytes = pulled["received_bytes"].as_u64().unwrap();
    assert!(bytes < 50_000, "{bytes} bytes");
    assert_eq!(pulled["parts"][0]["how"], "present");
    assert_eq!(pulled["parts"][2]["how"], "delta");
    assert_eq!(pulled["fallback_bytes"], 0);
    other
        .run("deploy web/stable --channel web/stable --target t2")
        .expect(2);
    other
        .run("deploy --channel web/stable --target t2 --trust trust.toml")
        .expect(0);
    let page = at.read(&format!("t2/layerset/current/root/{}", PAGE_IN_IMAGE));
    assert!(page.contains("version 2"), "{page}");
    other.run("deactivate --target t2").expect(0);
}

const PAGE_IN_IMAGE: &str = "usr/share/hello/page.html";
