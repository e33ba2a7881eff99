//! `layerset new layer`.

use std::path::PathBuf;

use clap::Args;

use super::{check_name, create, list, only_base};
use crate::cli::CliError;

/// Writes a layer to start from.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset new layer debian --base trixie    # a base: what stands below everything
  layerset new layer shop                    # on the base that is there
  layerset new layer shop --on python --on postgresql

Nothing is overwritten. layerset-layer.toml(5) explains every key.")]
pub(super) struct NewLayer {
    /// The name of the layer and its folder
    name: String,
    /// A layer that it is built on; may be given more than once [default: the base that is there]
    #[arg(long, value_name = "LAYER")]
    on: Vec<String>,
    /// Make a base of this release instead
    #[arg(long, value_name = "SUITE", conflicts_with = "on")]
    base: Option<String>,
    /// The directory that holds layers/
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl NewLayer {
    /// Writes the files, and returns their paths.
    pub(super) fn write(&self) -> Result<Vec<PathBuf>, CliError> {
        check_name(&self.name)?;
        self.on.iter().try_for_each(|on| check_name(on))?;
        let layers = self.dir.join("layers");
        let file = layers.join(&self.name).join("layer.toml");
        if let Some(suite) = &self.base {
            return Ok(vec![create(&file, &base(suite))?]);
        }
        let on = match self.on.as_slice() {
            [] => vec![only_base(&layers)?],
            on => on.to_vec(),
        };
        let readme = format!("files/usr/share/{}/README", self.name);
        let readme = layers.join(&self.name).join(readme);
        let words = format!("The layer '{}'.\n", self.name);
        Ok(vec![
            create(&file, &upper(&self.name, &on))?,
            create(&readme, &words)?,
        ])
    }
}

fn base(suite: &str) -> String {
    let suite = crate::recipe::quote(suite);
    format!(
        "\
# A base: what stands below every other layer. layerset-layer.toml(5) explains every key.
description = \"What every image begins with\"

[bootstrap]
suite = {suite}

# Parts of the archive, and suites beside the release.
#components = [\"main\"]
#pockets = [\"updates\", \"security\"]

# What is there before the packages: minbase, apt or essential.
#variant = \"minbase\"

# Packages that every image has.
packages = [\"ca-certificates\"]
"
    )
}

fn upper(name: &str, on: &[String]) -> String {
    let on = list(on);
    format!(
        "\
# A layer: what one step adds to a filesystem. layerset-layer.toml(5) explains every key.
description = \"What {name} is for\"
version = \"1\"

# The layers that it is built on. Recipes list them before this one.
on = {on}

# Packages from the archives of the base. What they depend on comes with them.
#[apt]
#packages = [\"nginx\"]
#recommends = false

# Copies files/ onto the root. The x bit of a file decides between 0755 and 0644.
[files]
#mode = {{ \"usr/share/{name}/README\" = \"0640\" }}
#owner = {{ \"usr/share/{name}/README\" = \"root:adm\" }}

# Scripts beside this file, run as root of a sandbox, without network.
#[run]
#scripts = [\"setup.sh\"]
#timeout = \"10m\"

# What becomes of files below /var: image (part of the image, changes with it), factory (copied to
# a machine once) or drop.
#[state]
#\"var/lib/{name}\" = \"image\"

# Secrets that no image may hold: each machine makes its own at first boot.
#[secrets]
#\"etc/{name}/key\" = {{ run = \"openssl rand -out /etc/{name}/key 32\" }}

# How to see that it works.
#[health]
#checks = [{{ name = \"{name} runs\", unit = \"{name}.service\", timeout = \"10s\" }}]

# Units to restart after a switch, beyond those whose files changed.
#[services]
#restart = [\"{name}.service\"]

# Paths of lower layers whose change asks for a rebuild, beyond what the checks find.
#[rebuild]
#when = [\"usr/bin/python3\"]
"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::uncommented;
    use super::*;
    use crate::recipe::{Definition, LAYER, SourceFile};

    #[test]
    fn a_new_layer_is_read_as_it_is_and_with_every_comment_taken_away() {
        for text in [base("trixie"), upper("shop", &["debian".to_owned()])] {
            for text in [text.clone(), uncommented(&text)] {
                let read = Definition::parse(&SourceFile::new("layer.toml", &*text), "shop");
                assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
            }
        }
    }

    #[test]
    fn every_table_of_a_layer_is_shown() {
        let shown = base("trixie") + &upper("shop", &[]);
        for key in LAYER.keys.iter().filter(|key| key.name != "name") {
            assert!(shown.contains(key.name), "{}", key.name);
        }
    }
}
