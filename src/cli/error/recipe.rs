//! What to do about recipes and definitions that cannot be used, and the places that are wrong.

use std::io::ErrorKind;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::{CliError, FAILED};
use crate::recipe::{RecipeError, RecipeFault};

impl From<RecipeError> for CliError {
    fn from(error: RecipeError) -> Self {
        let hint = match &error {
            RecipeError::NoLock { path } => Some(format!(
                "run `layerset lock {}` first, and keep the lock with the recipe",
                path.with_extension("toml").display()
            )),
            RecipeError::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                recipes_beside(path)
            }
            RecipeError::NotARecipe { path, .. } => Some(meant_by(path)),
            _ => None,
        };
        let plain = Self::from_error(&error, FAILED);
        Self {
            hint,
            recipe: Some(Box::new(error)),
            ..plain
        }
    }
}

/// Says which file was meant by the name of a recipe.
fn meant_by(path: &Path) -> String {
    let near = Path::new("recipes").join(path).with_extension("toml");
    match near.is_file() {
        true => format!("did you mean '{}'?", near.display()),
        false => "name its file, as in 'recipes/web.toml'".to_owned(),
    }
}

/// Says which recipes there are where one was looked for.
fn recipes_beside(path: &Path) -> Option<String> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let recipes = entries.map(|entry| entry.path());
    let mut recipes: Vec<String> = recipes
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            path.strip_prefix("./")
                .unwrap_or(&path)
                .display()
                .to_string()
        })
        .collect();
    recipes.sort();
    let hint = format!("the recipes there are: {}", recipes.join(", "));
    (!recipes.is_empty()).then_some(hint)
}

/// Draws the lines of a file that are wrong. Message and hint are printed already.
pub(super) fn draw(fault: &RecipeFault, color: bool) -> Option<String> {
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .without_cause_chain();
    let mut text = String::new();
    handler.render_report(&mut text, fault).ok()?;
    let lines = text.lines().skip_while(|line| !line.contains('╭'));
    let mut excerpt: String = lines
        .clone()
        .take_while(|line| !line.contains('╰'))
        .map(|l| format!("{l}\n"))
        .collect();
    if let Some(end) = lines.clone().find(|line| line.contains('╰')) {
        excerpt.push_str(&format!("{end}\n"));
    }
    Some(excerpt)
}
