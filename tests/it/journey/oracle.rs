//! The oracle on real packages: siblings that compose to what one installation gives, and a composition that does not.

use std::fs;

use super::shared::world;
use super::world::{World, text};

/// Adds a sibling of nginx with an account, an alternative, a link of the package database and a conffile of its own.
fn add_sibling(at: &World) {
    fs::create_dir_all(at.path("layers/time/files/etc")).unwrap();
    at.write(
        "layers/time/layer.toml",
        "on = [\"debian\"]\n\n[apt]\npackages = [\"netcat-openbsd\", \"openntpd\"]\n\n[files]\nowner = { \"etc/clock\" = \"root:ntpd\" }\n\n\
         [run]\nscripts = [\"setup.sh\"]\n\n[state]\n\"var/lib/openntpd\" = \"drop\"\n",
    );
    at.write("layers/time/files/etc/clock", "right\n");
    at.write("layers/time/setup.sh", "echo /opt/shell >>/etc/shells\n");
    for (name, order) in [
        ("first", "\"nginx\", \"time\""),
        ("last", "\"time\", \"nginx\""),
    ] {
        at.write(
            &format!("recipes/{name}.toml"),
            &format!("architecture = \"amd64\"\nlayers = [\"debian\", {order}]\n"),
        );
    }
}

#[test]
fn siblings_in_either_order_give_what_one_installation_gives() {
    let name = "siblings_in_either_order_give_what_one_installation_gives";
    let Some(at) = world(name) else { return };
    super::shared::adopt_debs(&at);
    add_sibling(&at);
    for recipe in ["first", "last"] {
        let file = format!("recipes/{recipe}.toml");
        at.run(&format!("compose {file}")).expect(1).says(&[
            "layer 'debian' is not built for this recipe",
            "layerset build",
        ]);
        at.run(&format!("lock {file}")).expect(0);
        super::shared::keep_debs(&at.path("repo"));
        let built = at.json(&format!("build {file} --json"));
        let before = (at.stamps("repo/refs"), at.read("layers/ids.toml"));

        let composed = at.json(&format!("compose {file} --json"));
        assert_eq!(composed["image"], built["image"]);
        assert_eq!(composed["verdict"], "safe");
        let report = at.json(&format!("compose {file} --oracle --json"));
        assert_eq!(report["unexplained"].as_array().unwrap().len(), 0);
        let explained = report["explained"].as_array().unwrap();
        let paths: Vec<String> = explained.iter().map(|e| text(&e["path"])).collect();
        assert!(
            explained.iter().all(|e| !text(&e["reason"]).is_empty()),
            "{paths:?}"
        );
        assert!(report["paths"].as_u64().unwrap() > 5000);

        at.is_untouched(&before.0);
        assert_eq!(at.read("layers/ids.toml"), before.1);
        at.is_clean();
    }
}

#[test]
fn a_layer_that_was_tampered_with_is_found_out() {
    let Some(at) = world("a_layer_that_was_tampered_with_is_found_out") else {
        return;
    };
    super::shared::adopt_debs(&at);
    // The same inputs by their key, and other contents: what a build that is not sound would leave.
    let key = at.path("repo/cache/keys");
    let nginx = at.layer_ref("nginx");
    at.append(
        "layers/nginx/layer.toml",
        "\n[run]\nscripts = [\"odd.sh\"]\n",
    );
    at.write(
        "layers/nginx/odd.sh",
        "echo odd >>/etc/nginx/nginx.conf\nrm /etc/nginx/mime.types\nchmod 0600 /etc/nginx/scgi_params\n",
    );
    at.build();
    let odd = at.layer_ref("nginx");
    assert_ne!(nginx, odd);
    // Its script is taken back; the built layer is made to say that it was built without.
    let manifest = |id: &str| {
        let hex = id.trim_start_matches("b3:");
        at.read(&format!("repo/layers/{hex}"))
    };
    let field = |id: &str| {
        let value: serde_json::Value = serde_json::from_str(&manifest(id)).unwrap();
        text(&value["build"]["key"])
    };
    let forged = manifest(&odd).replace(&field(&odd), &field(&nginx));
    let id = layerset::id::ObjectId::of(forged.as_bytes()).to_hex();
    at.write(&format!("repo/layers/{id}"), &forged);
    at.write("repo/refs/layers/web/nginx", &format!("b3:{id}\n"));
    at.write(
        "layers/nginx/layer.toml",
        &at.read("layers/nginx/layer.toml")
            .replace("\n[run]\nscripts = [\"odd.sh\"]\n", ""),
    );
    assert!(key.is_dir());

    let ran = at.run("compose recipes/web.toml --oracle --json").expect(3);
    let report = ran.json();
    let found: Vec<(String, String)> = report["unexplained"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (text(&d["path"]), text(&d["differs"][0])))
        .collect();
    let expect = [
        ("/etc/nginx/mime.types", "existence"),
        ("/etc/nginx/nginx.conf", "contents"),
        ("/etc/nginx/scgi_params", "mode"),
    ];
    assert_eq!(
        found,
        expect.map(|(path, what)| (path.to_owned(), what.to_owned()))
    );
    let ran = at.run("compose recipes/web.toml --oracle").expect(3);
    for line in [
        "unexplained: /etc/nginx/nginx.conf: contents",
        "  composed  file 0600 root:root ",
        "            | odd",
    ] {
        assert!(ran.stdout.contains(line), "{}", ran.transcript());
    }
    ran.says(&["3 differences are not explained"]);
    at.is_clean();
}
