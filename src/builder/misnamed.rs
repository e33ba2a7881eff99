//! What the archives do not have, said at the place where a definition names it.

use super::BuildError;
use crate::apt::{AptError, Resolver};
use crate::recipe::{Definition, Named, RecipeError, Workspace};

/// Refuses all packages that no archive has, of the layers that are resolved anew, in one error.
/// `resolver_of` returns what a layer is resolved with, if it is.
pub(super) fn refuse_unknown<'r>(
    workspace: &Workspace,
    resolver_of: &dyn Fn(&Definition) -> Option<&'r Resolver<'r>>,
) -> Result<(), BuildError> {
    let mut all = None::<RecipeError>;
    for layer in workspace.layers() {
        let definition = &layer.definition;
        let Some(resolver) = resolver_of(definition) else {
            continue;
        };
        for error in resolver.unknown_names(&definition.name, definition.packages()) {
            match at_its_place(workspace, &definition.name, error) {
                BuildError::Recipe(error) => {
                    all = Some(match all {
                        Some(before) => before.and(error),
                        None => error,
                    });
                }
                other => return Err(other),
            }
        }
    }
    all.map_or(Ok(()), |error| Err(error.into()))
}

/// Gives an error about the base's archives its place in the base's definition.
pub(super) fn in_base(workspace: &Workspace, error: AptError) -> BuildError {
    let base = workspace.layers().first();
    let base = base.map_or("", |layer| layer.definition.name.as_str());
    at_its_place(workspace, base, error)
}

/// Gives an error about something that a layer's definition names its place there.
pub(super) fn at_its_place(workspace: &Workspace, layer: &str, error: AptError) -> BuildError {
    let meant = |name: &Option<String>| {
        let name = name.as_ref();
        name.map(|name| format!("did you mean '{name}'?"))
    };
    let (at, message, help) = match &error {
        AptError::UnknownSuite { suite, suggestion } => {
            let message = format!("no archive has the suite '{suite}'");
            let help = "write one that Debian has, as in \"trixie\", or name the archives that have it in [[bootstrap.sources]]";
            let help = meant(suggestion).unwrap_or_else(|| help.to_owned());
            (Named::Suite, message, Some(help))
        }
        AptError::NoSource { wanted } => {
            let message = format!("no archive source for '{wanted}'");
            let help = "leave it out of 'pockets' (`pockets = []` for a suite without updates), or name the archives in [[bootstrap.sources]]";
            (Named::Suite, message, Some(help.to_owned()))
        }
        AptError::UnknownComponent {
            component,
            suggestion,
            known,
        } => {
            let message = format!("no archive has the component '{component}'");
            let help = meant(suggestion).unwrap_or_else(|| format!("known: {}", known.join(", ")));
            (Named::Component(component), message, Some(help))
        }
        AptError::UnknownPackage {
            name,
            place,
            suggestion,
            ..
        } => {
            let message = format!("no package '{name}' in {place}");
            let help = "`apt-cache search WORD` finds names; another component, suite or archive ([[apt.sources]]) may have it";
            let help = meant(suggestion).unwrap_or_else(|| help.to_owned());
            (Named::Package(name), message, Some(help))
        }
        AptError::BadName { name, .. } => {
            let help = "write NAME, NAME=VERSION or NAME/SUITE".to_owned();
            (
                Named::Package(name),
                format!("'{name}' is not a package name"),
                Some(help),
            )
        }
        AptError::Virtual {
            name, providers, ..
        } => {
            let message = format!("'{name}' is provided by several packages");
            let help = format!("name one of them: {}", providers.join(", "));
            (Named::Package(name), message, Some(help))
        }
        AptError::NoVersion {
            name,
            wanted,
            available,
            ..
        } => {
            let message = format!("no version '{wanted}' of '{name}'");
            let help = format!("there is {}", available.join(", "));
            (Named::Package(name), message, Some(help))
        }
        AptError::Unsolvable { .. } => {
            let help = "remove one of those that do not go together, or ask for other versions";
            (Named::Packages, error.to_string(), Some(help.to_owned()))
        }
        AptError::Held(held) => {
            let help = held.ways().join(", ");
            (
                Named::Packages,
                held.in_the_way(),
                (!help.is_empty()).then_some(help),
            )
        }
        _ => return error.into(),
    };
    workspace.fault_at(layer, at, message, help).into()
}
