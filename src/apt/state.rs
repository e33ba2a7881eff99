//! The lower layers as apt sees them: installed, and pinned.

use super::command::ToolOutput;
use super::deb822::ControlStanza;
use super::error::AptError;
use super::package::LowerPackages;
use super::root::AptRoot;
use super::scratch::ScratchDir;
use std::fmt::Write as _;
use std::fs;

/// Says whether apt may change packages of lower layers. It may only to find out if that helps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LowerPolicy {
    /// They stay at their versions.
    Held,
    /// They may move.
    Movable,
}

/// Holds the files that make apt see the lower layers as installed.
pub(super) struct InstalledState<'a> {
    root: &'a AptRoot,
    scratch: ScratchDir,
}

impl<'a> InstalledState<'a> {
    /// Writes the state for `lower`, of which `stanzas` are the control data.
    pub(super) fn new(
        root: &'a AptRoot,
        stanzas: &[ControlStanza],
        lower: &[LowerPackages<'_>],
    ) -> Result<Self, AptError> {
        let scratch = ScratchDir::new(root.dir(), "resolve")?;
        let (mut status, mut pins, mut automatic) = (String::new(), String::new(), String::new());
        for stanza in stanzas {
            let mut stanza = stanza.clone();
            stanza.set("Status", "install ok installed");
            status.push_str(&stanza.render());
        }
        for package in lower.iter().flat_map(|l| l.packages) {
            let (name, version) = (&package.name, &package.version);
            // The first record that matches a version wins, so the second forbids all others.
            let _ = write!(
                pins,
                "Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"
            );
            let _ = write!(
                pins,
                "Package: {name}\nPin: version *\nPin-Priority: -1\n\n"
            );
            if !package.manual {
                let arch = root.arch();
                let _ = write!(
                    automatic,
                    "Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n"
                );
            }
        }
        for (file, content) in [
            ("status", status),
            ("preferences", pins),
            ("extended_states", automatic),
        ] {
            let path = scratch.path().join(file);
            fs::write(&path, content).map_err(AptError::io("write", &path))?;
        }
        Ok(Self { root, scratch })
    }

    /// Asks apt to install `wanted` and returns what it would download; nothing is changed.
    pub(super) fn install(
        &self,
        wanted: &[String],
        recommends: bool,
        freedom: LowerPolicy,
    ) -> Result<ToolOutput, AptError> {
        let file = |name: &str| self.scratch.path().join(name).display().to_string();
        let mut arguments = vec!["-q".to_owned(), "-y".to_owned(), "--print-uris".to_owned()];
        let mut option = |text: String| arguments.extend(["-o".to_owned(), text]);
        option(format!("Dir::State::status={}", file("status")));
        option(format!(
            "Dir::State::extended_states={}",
            file("extended_states")
        ));
        option(format!("APT::Install-Recommends={recommends}"));
        if freedom == LowerPolicy::Held {
            option(format!("Dir::Etc::preferences={}", file("preferences")));
        }
        option("APT::Get::Remove=false".to_owned());
        arguments.extend(["install".to_owned(), "--".to_owned()]);
        arguments.extend(wanted.iter().cloned());
        self.root.apt("apt-get", &arguments)
    }
}
