//! `layerset new recipe`.

use std::path::PathBuf;

use clap::Args;

use super::{check_name, create, list, only_base};
use crate::cli::CliError;

/// Writes a recipe to start from.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset new recipe web debian nginx hello
  layerset new recipe small                  # the base that is there

Nothing is overwritten. layerset-recipe.toml(5) explains every key.")]
pub(super) struct NewRecipe {
    /// The name of the recipe and its file
    name: String,
    /// The layers, the base first [default: the base that is there]
    layers: Vec<String>,
    /// The directory that holds layers/ and recipes/
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl NewRecipe {
    /// Writes the file, and returns its path.
    pub(super) fn write(&self) -> Result<Vec<PathBuf>, CliError> {
        check_name(&self.name)?;
        self.layers.iter().try_for_each(|layer| check_name(layer))?;
        let layers = match self.layers.as_slice() {
            [] => vec![only_base(&self.dir.join("layers"))?],
            layers => layers.to_vec(),
        };
        let file = self.dir.join("recipes").join(format!("{}.toml", self.name));
        Ok(vec![create(&file, &text(&self.name, &layers))?])
    }
}

fn text(name: &str, layers: &[String]) -> String {
    let layers = list(layers);
    format!(
        "\
# A recipe: which layers make an image. layerset-recipe.toml(5) explains every key.
description = \"What {name} is for\"

# Debian's word for it. Without it: that of the machine that locks.
#architecture = \"amd64\"

# The base first. What a layer is built on stands before it.
layers = {layers}

# How many earlier deployments a target keeps.
[policy]
keep = 3

# Accepts one finding of `layerset check`, for a reason and until a day.
#[[waivers]]
#finding = \"unit:/usr/lib/systemd/system/foo.service:/usr/sbin/food\"
#reason = \"food is on the data disk\"
#expires = 2027-01-31

# The disk that `layerset export disk` makes. Everything has a default.
#[disk]
#layout = \"updatable\"
#size = \"auto\"
#profile = [\"openstack\"]
"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::uncommented;
    use super::*;
    use crate::recipe::{RECIPE, Recipe, SourceFile};

    #[test]
    fn a_new_recipe_is_read_as_it_is_and_with_every_comment_taken_away() {
        let text = text("web", &["debian".to_owned(), "shop".to_owned()]);
        for text in [text.clone(), uncommented(&text)] {
            let read = Recipe::parse(&SourceFile::new("web.toml", &*text), "web", "amd64");
            assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
        }
        for key in RECIPE.keys.iter().filter(|key| key.name != "name") {
            assert!(text.contains(key.name), "{}", key.name);
        }
    }
}
