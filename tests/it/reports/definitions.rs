//! What people write.

use super::{Report, hold};
use crate::cli::fixture::{Empty, empty};

#[test]
fn what_was_reported_of_definitions_is_not_so_here() {
    hold(REPORTS);
}

/// Writes a recipe of two layers, the second as given, and returns what `lock` says of it.
fn said_of(layer: &str, recipe: &str) -> String {
    let at: Empty = empty();
    at.session.run("init").expect(0);
    let recipe = if recipe.is_empty() {
        "layers = [\"base\", \"site\"]\n"
    } else {
        recipe
    };
    at.write("recipes/web.toml", recipe);
    at.write(
        "layers/base/layer.toml",
        "[bootstrap]\nsuite = \"trixie\"\n",
    );
    at.write("layers/site/layer.toml", layer);
    at.write("layers/site/files/srv/page.html", "page\n");
    let ran = at.session.run("lock recipes/web.toml").expect(1);
    ran.stderr
}

pub const REPORTS: &[Report] = &[
    Report {
        source: "coreos/rpm-ostree#1459",
        said: "A key that is misspelt is ignored without a word.",
        case: || {
            let said = said_of("on = [\"base\"]\n[files]\nmodes = {}\n", "");
            assert!(said.contains("did you mean 'mode'?"), "{said}");
            let said = said_of(
                "on = [\"base\"]\n[files]\n",
                "layers = [\"base\"]\nkeep = 3\n",
            );
            assert!(said.contains("unknown key 'keep'"), "{said}");
        },
    },
    Report {
        source: "coreos/rpm-ostree#1607",
        said: "What is wrong in a file is told without its name.",
        case: || {
            let said = said_of("on = [\"base\"\n[files]\n", "");
            assert!(said.contains("layers/site/layer.toml:2:1"), "{said}");
        },
    },
    Report {
        source: "systemd/mkosi#2086",
        said: "A setting is unknown because of its capitals, and nothing says so.",
        case: || {
            let said = said_of("on = [\"base\"]\n[files]\nSource = \"files\"\n", "");
            assert!(said.contains("did you mean 'source'?"), "{said}");
        },
    },
    Report {
        source: "opencontainers/umoci#27",
        said: "A path with dots in it leads out of the image, to files of the host.",
        case: || {
            for path in ["../../etc/passwd", "usr/../../x", "/.."] {
                let layer =
                    format!("on = [\"base\"]\n[files]\nmode = {{ \"{path}\" = \"0600\" }}\n");
                let said = said_of(&layer, "");
                assert!(said.contains("layers/site/layer.toml:3:10"), "{said}");
            }
            let said = said_of("on = [\"base\"]\n[files]\nsource = \"../base\"\n", "");
            assert!(said.contains("layers/site/layer.toml:3:10"), "{said}");
        },
    },
    Report {
        source: "systemd/mkosi#2873",
        said: "A warning about a setting says neither what is wrong nor how to put it right.",
        case: || {
            let said = said_of("on = [\"bas\"]\n[files]\n", "");
            assert!(said.contains("did you mean 'base'?"), "{said}");
            let said = said_of("on = [\"base\"]\n", "");
            assert!(said.contains("add '[bootstrap]' for a base"), "{said}");
        },
    },
];
