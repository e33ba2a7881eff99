//! Who sees which archive, and recipes that share a base.

use super::{Site, TRUSTED};

#[test]
fn an_archive_is_seen_by_its_layer_and_by_those_on_it_alone() {
    let Some(site) = Site::new("an_archive_is_seen_by_its_layer_and_by_those_on_it_alone") else {
        return;
    };
    site.deb("base", "tiny-base", "1", "Essential: yes\n");
    site.deb("base", "tool", "1", "");
    site.flat("base");
    for (name, version) in [("shop", "1"), ("plugin", "1"), ("tool", "9")] {
        site.deb("vendor", name, version, "");
    }
    site.flat("vendor");
    site.base(
        &TRUSTED.replace("URI", &site.uri("base")),
        &["shop", "plugin", "tool"],
    );
    let source = format!(
        "\n[[apt.sources]]\n{}",
        TRUSTED.replace("URI", &site.uri("vendor"))
    );
    site.layer("shop", "base", &["shop"], &source);
    site.layer("plugin", "shop", &["plugin"], "");
    site.layer("tool", "base", &["tool"], "");
    site.lock().expect(0);
    assert_eq!(
        site.locked("web"),
        [
            "tiny-base 1 base",
            "shop 1 vendor",
            "plugin 1 vendor",
            "tool 1 base"
        ]
    );
    site.layer("tool", "base", &["plugin"], "");
    let ran = site.lock().expect(1);
    assert!(
        ran.stderr
            .contains("layers/tool/layer.toml:4:13: no package 'plugin' in tiny main"),
        "{}",
        ran.stderr
    );
    // A sources file stands in for the base's archives, not for those that layers add.
    site.layer("tool", "base", &["tool"], "");
    site.write(
        "sources.list",
        format!("deb [trusted=yes] {} ./\n", site.uri("base")),
    );
    site.base(
        "uris = [\"http://127.0.0.1:9/\"]\nsuites = [\"./\"]\n",
        &["shop", "plugin", "tool"],
    );
    site.session
        .run("lock recipes/web.toml --apt-sources sources.list")
        .expect(0);
}

#[test]
fn recipes_that_are_locked_together_or_alike_have_one_base() {
    let Some(site) = Site::new("recipes_that_are_locked_together_or_alike_have_one_base") else {
        return;
    };
    let publish = |version: &str| {
        site.deb("a", "tiny-base", version, "Essential: yes\n");
        site.deb("a", "app", version, "");
        site.deb("a", "extra", version, "");
        site.flat("a");
    };
    publish("1");
    site.base(&TRUSTED.replace("URI", &site.uri("a")), &["app"]);
    site.recipe("other", &["app"]);
    site.layer("app", "base", &["app"], "");
    site.lock().expect(0);
    publish("2");
    // Another recipe takes over what the first one has, also its dates.
    let text = site
        .read("recipes/web.lock")
        .replace("epoch = 1600000000", "epoch = 1500000000");
    site.write("recipes/web.lock", &text);
    site.session
        .run("lock recipes/other.toml --like recipes/web.toml")
        .expect(0);
    assert_eq!(site.locked("other"), site.locked("web"));
    assert_eq!(
        site.read("recipes/other.lock"),
        text.replace("\"web\"", "\"other\"")
    );
    // On their own they part; together they are one again.
    site.session.run("lock recipes/other.toml").expect(0);
    assert_eq!(site.locked("other"), ["tiny-base 2 a", "app 2 a"]);
    let ran = site
        .session
        .run("lock recipes/other.toml recipes/web.toml --json")
        .expect(0);
    assert_eq!(ran.json()["locks"].as_array().unwrap().len(), 2);
    assert_eq!(
        site.read("recipes/other.lock"),
        site.read("recipes/web.lock")
            .replace("\"web\"", "\"other\"")
    );
    // Another one's layer of that name is not the same question.
    for (from, to) in [
        ("recipes/web.toml", "team/recipes/team.toml"),
        ("layers/base/layer.toml", "team/layers/base/layer.toml"),
    ] {
        site.write(to, site.read(from));
    }
    site.write(
        "team/layers/app/layer.toml",
        "on = [\"base\"]\n\n[apt]\npackages = [\"extra\"]\n",
    );
    publish("3");
    site.session
        .run("lock team/recipes/team.toml --like recipes/web.toml")
        .expect(0);
    assert_eq!(
        site.locked("../team/recipes/team"),
        ["tiny-base 2 a", "extra 3 a"]
    );
    // What differs stays different.
    site.layer("more", "base", &["app"], "recommends = true\n");
    site.recipe("other", &["more"]);
    site.session
        .run("lock recipes/web.toml recipes/other.toml")
        .expect(0);
    let ran = site
        .session
        .run("lock recipes/web.toml recipes/other.toml --update nothing")
        .expect(2);
    assert!(ran.stderr.contains("no layer 'nothing'"), "{}", ran.stderr);
}
