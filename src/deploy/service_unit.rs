//! Units of the host that run services of a target, and the timer that updates it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::mounts::quote;
use super::{DeployError, JoinMethod, Target};
use crate::check::paths::{UnitSetting, unit_settings};
use crate::layout::accounts::{GROUP, PASSWD, by_name};
use crate::sandbox::ViewRoot;

/// Where units of a host are that administrators and this program write (systemd.unit(5)).
pub const UNIT_DIRECTORIES: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

const TARGET_MARK: &str = "X-LayersetTarget=";
const SERVICE_MARK: &str = "X-LayersetService=";

/// Settings of a service that do not mean the same outside of its image, or that this program sets.
/// The PID file is in a `/run` of the service's own, where the host does not see it.
const LEFT_OUT: [&str; 9] = [
    "PIDFile",
    "RootDirectory",
    "RootImage",
    "MountAPIVFS",
    "PrivateTmp",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "EnvironmentFile",
];

/// Which service of which target a unit of the host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitMark {
    /// The target.
    pub target: PathBuf,
    /// The unit in its image.
    pub service: String,
}

impl UnitMark {
    /// Reads the mark of a unit file that [`Target::service_unit`] made.
    pub fn read(text: &str) -> Option<Self> {
        let value = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark));
        Some(Self {
            target: PathBuf::from(value(TARGET_MARK)?),
            service: value(SERVICE_MARK)?.to_owned(),
        })
    }
}

impl Target {
    /// Writes a unit for the host that runs a service of the current deployment, whichever that is
    /// when it starts: the service's own settings, with the deployment as its root. Accounts are
    /// given by number, for the host does not know their names.
    pub fn service_unit(&self, service: &str) -> Result<String, DeployError> {
        let Some(current) = self.current()? else {
            return Err(DeployError::NoService {
                service: service.to_owned(),
            });
        };
        let deployment = self.deployment(current)?;
        if deployment.facts.join == JoinMethod::Symlink {
            return Err(DeployError::Linked {
                generation: current,
            });
        }
        let fail = |error| DeployError::io("open", &deployment.root(), io::Error::other(error));
        let root = ViewRoot::open(&deployment.root()).map_err(fail)?;
        let read = |path: &str| root.read(path).ok();
        let files = unit_files(&deployment.root(), service);
        let texts: Vec<Vec<u8>> = files.iter().filter_map(|path| read(path)).collect();
        if texts.is_empty() {
            return Err(DeployError::NoService {
                service: service.to_owned(),
            });
        }
        let settings: Vec<UnitSetting> =
            texts.iter().flat_map(|text| unit_settings(text)).collect();
        let numbers = Numbers {
            users: read(PASSWD).unwrap_or_default(),
            groups: read(GROUP).unwrap_or_default(),
        };
        Ok(self.render(service, &settings, &numbers))
    }

    fn render(&self, service: &str, settings: &[UnitSetting], numbers: &Numbers) -> String {
        let root = self.root();
        let description = settings.iter().find(|s| s.key == "Description");
        let description = description.map_or(service, |setting| setting.value.as_str());
        let mut text = format!(
            "# {service} of the target {}; it starts what is current then.\n\
             [Unit]\nDescription={description}\nRequiresMountsFor={}\nAfter=network.target\n\
             {TARGET_MARK}{}\n{SERVICE_MARK}{service}\n\n[Service]\n",
            root.display(),
            quote(&self.dir),
            root.display(),
        );
        let _ = writeln!(
            text,
            "RootDirectory={}\nMountAPIVFS=yes\nPrivateTmp=yes",
            self.dir
                .join("current/root")
                .display()
                .to_string()
                .replace('%', "%%")
        );
        let of_service = settings.iter().filter(|s| s.section == "Service");
        for UnitSetting { key, value, .. } in of_service {
            if LEFT_OUT.contains(&key.as_str()) {
                continue;
            }
            let value = match key.as_str() {
                "User" => Numbers::of(&numbers.users, value),
                "Group" => Numbers::of(&numbers.groups, value),
                _ => value.clone(),
            };
            let _ = writeln!(text, "{key}={value}");
        }
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        text
    }
}

/// The account databases of an image.
struct Numbers {
    users: Vec<u8>,
    groups: Vec<u8>,
}

impl Numbers {
    fn of(file: &[u8], name: &str) -> String {
        let number = by_name(file).get(name).copied();
        number.map_or(name.to_owned(), |number| number.to_string())
    }
}

/// Returns the files that describe a unit, the one that counts first, then its drop-ins.
fn unit_files(root: &Path, service: &str) -> Vec<String> {
    const DIRS: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];
    let is_there = |path: &String| std::fs::symlink_metadata(root.join(path)).is_ok();
    let main = DIRS.map(|dir| format!("{dir}/{service}"));
    let mut files: Vec<String> = main.into_iter().filter(is_there).take(1).collect();
    let mut drop_ins: Vec<String> = DIRS
        .iter()
        .flat_map(|dir| {
            let dir = format!("{dir}/{service}.d");
            let entries = std::fs::read_dir(root.join(&dir)).into_iter().flatten();
            let names = entries
                .flatten()
                .filter_map(|e| e.file_name().into_string().ok());
            let names = names.filter(|name| name.ends_with(".conf"));
            names
                .map(move |name| format!("{dir}/{name}"))
                .collect::<Vec<_>>()
        })
        .collect();
    drop_ins.sort_by(|a, b| a.rsplit('/').next().cmp(&b.rsplit('/').next()));
    files.extend(drop_ins);
    files
}

/// Writes the units that update a target from its channel every hour; `exe` is the absolute path of
/// this program.
pub fn update_units(target_root: &Path, repository: &Path, exe: &Path) -> String {
    let command = |path: &Path| quote(path).replace('$', "$$");
    let name = target_root
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    format!(
        "# /etc/systemd/system/layerset-update-{name}.service\n\
         [Unit]\n\
         Description=Update a layerset target from its channel\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={} --repo {} update --target {} --restart\n\
         \n\
         # /etc/systemd/system/layerset-update-{name}.timer\n\
         [Unit]\n\
         Description=Update a layerset target from its channel\n\
         \n\
         [Timer]\n\
         OnCalendar=hourly\n\
         RandomizedDelaySec=30min\n\
         Persistent=true\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        command(exe),
        command(repository),
        command(target_root),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_of_a_target_is_known_by_its_mark() {
        let text = "[Unit]\nX-LayersetTarget=/srv/a b\nX-LayersetService=nginx.service\n";
        let mark = UnitMark {
            target: PathBuf::from("/srv/a b"),
            service: "nginx.service".to_owned(),
        };
        assert_eq!(UnitMark::read(text), Some(mark));
        assert_eq!(UnitMark::read("[Unit]\nX-LayersetTarget=/srv\n"), None);
    }
}
