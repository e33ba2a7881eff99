//! Archive sources: what mmdebstrap knows for a suite, or what the user's file says
//! (sources.list(5)).

use super::command::{run, tail};
use super::error::AptError;
use super::package::Bootstrap;
use super::scratch::{ScratchDir, write_atomic};
use super::source_list::{ArchiveSource, each, parse};
use super::unknown;
use crate::recipe::PackageArchive;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the packages of a recipe come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackageSources<'a> {
    /// A user's sources file, which stands in for the archives of the base.
    pub file: Option<&'a Path>,
    /// The archives that the base's definition names; the default ones where it names none.
    pub base: &'a [PackageArchive],
    /// The archives that definitions of other layers name.
    pub added: &'a [PackageArchive],
}

/// Makes the sources of archives that definitions name.
pub(super) fn of_definitions(archives: &[PackageArchive]) -> Vec<ArchiveSource> {
    archives.iter().flat_map(of_definition).collect()
}

fn of_definition(archive: &PackageArchive) -> Vec<ArchiveSource> {
    let section = &archive.section;
    let mut options = Vec::new();
    let mut option = |name: &str, value: &str| options.push((name.to_owned(), value.to_owned()));
    if !section.architectures.is_empty() {
        option("arch", &section.architectures.join(","));
    }
    if section.trusted {
        option("trusted", "yes");
    }
    if !section.check_valid_until {
        option("check-valid-until", "no");
    }
    let made: Result<_, std::convert::Infallible> =
        each(&section.uris, &section.suites, |uri, suite| {
            Ok(ArchiveSource {
                options: options.clone(),
                key: archive.key.clone(),
                uri: uri.to_owned(),
                suite: suite.to_owned(),
                components: section.components.clone(),
                place: archive.place.clone(),
            })
        });
    let Ok(made) = made;
    made
}

/// Returns the sources for `spec`: from `file` if the user gave one, else those that the base's
/// definition names, else mmdebstrap's, asked once and kept in `work`.
pub(super) fn sources(
    work: &Path,
    spec: &Bootstrap,
    sources: &PackageSources<'_>,
) -> Result<Vec<ArchiveSource>, AptError> {
    let file = sources.file;
    if file.is_none() && !sources.base.is_empty() {
        let named = of_definitions(sources.base);
        return offers_all(&named, spec).map(|()| named);
    }
    let (text, origin) = match file {
        Some(path) => (
            fs::read_to_string(path).map_err(AptError::io("read", path))?,
            path.to_path_buf(),
        ),
        None => {
            let kept = work.join(format!(
                "default-sources/{}_{}",
                spec.suite,
                spec.components.join("_")
            ));
            match fs::read_to_string(&kept) {
                Ok(text) => (text, kept),
                Err(_) => {
                    let text = ask_mmdebstrap(work, spec)?;
                    write_atomic(&kept, text.as_bytes())?;
                    (text, kept)
                }
            }
        }
    };
    let mut all = parse(&text).map_err(|(line, detail)| AptError::BadSources {
        path: origin.clone(),
        line,
        detail,
    })?;
    if file.is_some() {
        keys_are_there(&all, &origin)?;
    }
    for source in &mut all {
        source.place = match file {
            Some(_) => format!("{}:{}", origin.display(), source.place),
            // Nobody wrote it.
            None => String::new(),
        };
    }
    select(all, spec)
}

/// Checks that the keys are there which a user's file names: apt would say that there is another.
fn keys_are_there(sources: &[ArchiveSource], file: &Path) -> Result<(), AptError> {
    for source in sources {
        let named = source
            .options
            .iter()
            .filter(|(name, _)| name == "signed-by");
        // What is no path is a fingerprint.
        let mut paths = named
            .flat_map(|(_, value)| value.split(','))
            .filter(|key| key.starts_with('/'));
        if let Some(missing) = paths.find(|path| !Path::new(path).is_file()) {
            return Err(AptError::BadSources {
                path: file.to_owned(),
                line: source.place.parse().unwrap_or_default(),
                detail: format!("the key '{missing}' is not there"),
            });
        }
    }
    Ok(())
}

/// Asks mmdebstrap which sources it would use; it stops before it reaches the network.
///
/// A setup hook keeps the sources it generated and then fails, which ends the run. `chrootless` is
/// the one mode that needs neither privilege nor mounts, and with the variant `custom` nothing
/// would be installed anyway. So it harms no host, not even as root. mmdebstrap 1.5 and later
/// refuses that mode as root unless told; older versions ignore the word.
fn ask_mmdebstrap(work: &Path, spec: &Bootstrap) -> Result<String, AptError> {
    const HOOK: &str = r#"cd "$1/etc/apt" || exit 1
for file in sources.list sources.list.d/*; do
    [ ! -f "$file" ] || { cat "$file"; echo; } >> ../../../answer
done
exit 1"#;
    let scratch = ScratchDir::new(work, "ask")?;
    let finished = run(Command::new("mmdebstrap")
        .args([
            "--variant=custom",
            "--mode=chrootless",
            "--skip=check/chrootless",
            "--format=directory",
        ])
        .arg(format!("--components={}", spec.components.join(",")))
        .arg(format!("--setup-hook={HOOK}"))
        .arg(&spec.suite)
        .arg(scratch.path().join("root")))?;
    // It always fails. The answer shows whether it got as far as the hook.
    fs::read_to_string(scratch.path().join("answer")).map_err(|_| AptError::Tool {
        command: "mmdebstrap".to_owned(),
        reason: tail(&finished.stderr, 3),
    })
}

/// Keeps what `spec` asks for: its suite and pockets, its components. Sources of other suites are
/// third parties the user named on purpose and stay whole; a pocket of our suite that the recipe
/// does not name must not get in.
fn select(all: Vec<ArchiveSource>, spec: &Bootstrap) -> Result<Vec<ArchiveSource>, AptError> {
    let wanted = spec.suites();
    let pocket_prefix = format!("{}-", spec.suite);
    let mut kept = Vec::new();
    let mut offered = BTreeSet::new();
    for mut source in all {
        if wanted.contains(&source.suite) {
            offered.extend(source.components.iter().cloned());
        }
        if wanted.contains(&source.suite) {
            source.components.retain(|c| spec.components.contains(c));
            if !source.components.is_empty() {
                kept.push(source);
            }
        } else if !source.suite.starts_with(&pocket_prefix) {
            kept.push(source);
        }
    }
    let flat = kept.iter().any(ArchiveSource::is_flat);
    if let Some(unknown) = unknown::component(spec, &offered).filter(|_| !flat) {
        return Err(unknown);
    }
    offers_all(&kept, spec).map(|()| kept)
}

/// Checks that each suite which the base draws from has an archive.
fn offers_all(sources: &[ArchiveSource], spec: &Bootstrap) -> Result<(), AptError> {
    // A flat archive has no suite names: it alone can stand for all of them.
    let flat = sources.iter().any(ArchiveSource::is_flat);
    let is_offered = |suite: &String| flat || sources.iter().any(|s| s.suite == *suite);
    match spec.suites().into_iter().find(|suite| !is_offered(suite)) {
        Some(missing) => Err(unknown::no_source(spec, &missing)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::source_list::render;
    use super::*;
    use crate::apt::{BootstrapVariant, Pocket};

    const DEFAULT: &str = "deb http://one.example/debian trixie main contrib\n\
                           deb http://one.example/debian trixie-updates main contrib\n\
                           deb http://two.example/debian-security trixie-security main contrib\n";

    fn spec(pockets: &[Pocket]) -> Bootstrap {
        Bootstrap {
            suite: "trixie".into(),
            components: vec!["main".into()],
            pockets: pockets.to_vec(),
            variant: BootstrapVariant::Minbase,
            packages: vec![],
            sources: vec![],
            snapshots: vec![],
        }
    }

    fn selected(text: &str, pockets: &[Pocket]) -> String {
        let kept = select(parse(text).unwrap(), &spec(pockets)).unwrap();
        render(&kept, Path::new("/keys"))
    }

    #[test]
    fn a_key_that_a_file_names_and_that_is_not_there_is_told() {
        let refused = |key: &str| {
            let text =
                format!("\ndeb [arch=amd64 signed-by={key}] http://a.example/x trixie main\n");
            let sources = parse(&text).unwrap();
            let error = keys_are_there(&sources, Path::new("my.list")).err()?;
            Some(error.to_string())
        };
        assert_eq!(refused("/proc/self/status"), None);
        assert_eq!(refused("0123456789ABCDEF0123456789ABCDEF01234567"), None);
        let said = refused("/proc/self/status,/nowhere/x.asc").unwrap();
        assert!(said.contains("my.list") && said.contains('2'), "{said}");
        assert!(
            said.contains("the key '/nowhere/x.asc' is not there"),
            "{said}"
        );
    }

    #[test]
    fn only_the_pockets_and_components_of_the_recipe_are_kept() {
        assert_eq!(
            selected(DEFAULT, &[]),
            "deb http://one.example/debian trixie main\n"
        );
        assert_eq!(
            selected(DEFAULT, &[Pocket::Security]),
            "deb http://one.example/debian trixie main\ndeb http://two.example/debian-security trixie-security main\n"
        );
    }

    #[test]
    fn third_parties_and_flat_archives_stay_whole() {
        let text = "deb [arch=amd64 signed-by=/k.gpg] https://x.example/apt vendor stable # ours\ndeb file:/a ./\n";
        assert_eq!(
            selected(text, &[Pocket::Updates]),
            "deb [arch=amd64 signed-by=/k.gpg] https://x.example/apt vendor stable\ndeb file:/a ./\n"
        );
    }

    #[test]
    fn deb822_stanzas_become_one_source_per_suite() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\n\
                    Components: main contrib\nSigned-By: /k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://n\nSuites: x/\n";
        assert_eq!(
            selected(text, &[Pocket::Updates]),
            "deb [signed-by=/k.gpg] http://m.example/debian trixie main\n\
             deb [signed-by=/k.gpg] http://m.example/debian trixie-updates main\n"
        );
    }

    #[test]
    fn a_pocket_without_a_source_is_named() {
        let error = select(
            parse("deb http://a trixie main").unwrap(),
            &spec(&[Pocket::Security]),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "no archive source for 'trixie-security'");
        let unknown = Bootstrap {
            suite: "trixi".into(),
            ..spec(&[Pocket::Security])
        };
        let error = select(parse("deb http://a trixi main").unwrap(), &unknown).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no archive has the suite 'trixi' (did you mean 'trixie'?)"
        );
    }
}
