//! Recipes and definitions that are wrong: the place is pointed at.

use super::fixture::{Empty, empty};

/// Writes a recipe `web` of the layers `base` and `site`, which is right.
fn recipe(at: &Empty) {
    at.session.run("init").expect(0);
    at.write(
        "recipes/web.toml",
        "architecture = \"amd64\"\nlayers = [\"base\", \"site\"]\n",
    );
    at.write(
        "layers/base/layer.toml",
        "[bootstrap]\nsuite = \"trixie\"\n",
    );
    at.write(
        "layers/site/layer.toml",
        "version = \"1\"\non = [\"base\"]\n\n[files]\n",
    );
    at.write("layers/site/files/srv/page.html", "page\n");
}

#[test]
fn a_recipe_without_a_lock_is_not_built() {
    let at = empty();
    recipe(&at);
    insta::assert_snapshot!(at.session.run("build recipes/web.toml").transcript(), @r"
    $ layerset build recipes/web.toml
    ! error: there is no lock 'recipes/web.lock' yet
    ! hint: run `layerset lock recipes/web.toml` first, and keep the lock with the recipe
    [status 1]
    ");
}

#[test]
fn a_recipe_that_is_not_there_is_named() {
    let at = empty();
    recipe(&at);
    insta::assert_snapshot!(at.session.run("build recipes/wbe.toml").transcript(), @r"
    $ layerset build recipes/wbe.toml
    ! error: cannot read 'recipes/wbe.toml'
    ! caused by: No such file or directory (os error 2)
    ! hint: the recipes there are: recipes/web.toml
    [status 1]
    ");
}

#[test]
fn an_unknown_key_is_pointed_at() {
    let at = empty();
    recipe(&at);
    at.write(
        "layers/site/layer.toml",
        "version = \"1\"\non = [\"base\"]\n\n[files]\nmodes = { \"srv/page.html\" = \"0600\" }\n",
    );
    insta::assert_snapshot!(at.session.run("build recipes/web.toml").transcript(), @r#"
    $ layerset build recipes/web.toml
    ! error: layers/site/layer.toml:5:1: unknown key 'modes' (did you mean 'mode'?)
    !    ╭─[layers/site/layer.toml:5:1]
    !  4 │ [files]
    !  5 │ modes = { "srv/page.html" = "0600" }
    !    · ─────
    !    ╰────
    [status 1]
    "#);
}

#[test]
fn a_missing_layer_is_pointed_at() {
    let at = empty();
    recipe(&at);
    at.write(
        "recipes/web.toml",
        "architecture = \"amd64\"\nlayers = [\"base\", \"sites\"]\n",
    );
    insta::assert_snapshot!(at.session.run("build recipes/web.toml").transcript(), @r#"
    $ layerset build recipes/web.toml
    ! error: recipes/web.toml:2:19: there is no layer 'sites' in 'layers' (did you mean 'site'?)
    !    ╭─[recipes/web.toml:2:19]
    !  1 │ architecture = "amd64"
    !  2 │ layers = ["base", "sites"]
    !    ·                   ───────
    !    ╰────
    [status 1]
    "#);
}

#[test]
fn a_layer_on_a_later_one_is_pointed_at() {
    let at = empty();
    recipe(&at);
    at.write(
        "recipes/web.toml",
        "architecture = \"amd64\"\nlayers = [\"base\", \"site\", \"late\"]\n",
    );
    at.write(
        "layers/late/layer.toml",
        "version = \"1\"\non = [\"base\"]\n\n[files]\n",
    );
    at.write(
        "layers/site/layer.toml",
        "version = \"1\"\non = [\"late\"]\n\n[files]\n",
    );
    insta::assert_snapshot!(at.session.run("build recipes/web.toml").transcript(), @r#"
    $ layerset build recipes/web.toml
    ! error: there are 2 mistakes:
    !   layers/site/layer.toml:2:7: layer 'site' is built on 'late', which stands after it in 'recipes/web.toml' (move 'late' before 'site' there)
    !   layers/late/layer.toml:4:1: 'layers/late/files' is not a folder
    !    ╭─[layers/site/layer.toml:2:7]
    !  1 │ version = "1"
    !  2 │ on = ["late"]
    !    ·       ──────
    !  3 │
    !    ╰────
    !    ╭─[layers/late/layer.toml:4:1]
    !  3 │
    !  4 │ [files]
    !    · ───────
    !    ╰────
    [status 1]
    "#);
}

#[test]
fn only_layers_of_the_recipe_can_be_locked_anew() {
    let at = empty();
    recipe(&at);
    let ran = at.session.run("lock recipes/web.toml --update nginx");
    insta::assert_snapshot!(ran.transcript(), @r"
    $ layerset lock recipes/web.toml --update nginx
    ! error: the recipe has no layer 'nginx'
    ! hint: it has: base, site
    [status 2]
    ");
    assert!(!at.dir.path().join("recipes/web.lock").exists());
}
