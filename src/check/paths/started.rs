//! What a unit starts.

use super::unit_file;

/// One assignment of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSetting {
    /// The section's name.
    pub section: String,
    /// What is set.
    pub key: String,
    /// The value, with its continuation lines.
    pub value: String,
}

/// Returns the assignments of a unit file in order; nothing of one that is binary.
pub fn unit_settings(unit: &[u8]) -> Vec<UnitSetting> {
    let settings = unit_file::parse(unit).unwrap_or_default().into_iter();
    let each = settings.map(|setting| UnitSetting {
        section: setting.section,
        key: setting.key,
        value: setting.value,
    });
    each.collect()
}

/// Returns the programs that a unit file starts as its main processes (`ExecStart=` in
/// systemd.service(5)), as absolute paths, without the prefixes that change how they are started.
pub fn started(unit: &[u8]) -> Vec<String> {
    let settings = unit_file::parse(unit).unwrap_or_default();
    let commands = settings
        .iter()
        .filter(|setting| setting.section == "Service" && setting.key == "ExecStart");
    let programs = commands.filter_map(|setting| {
        let words = unit_file::words(&setting.value)?;
        let program = words
            .first()?
            .text
            .trim_start_matches(['@', '-', ':', '+', '!', '|']);
        program.starts_with('/').then(|| program.to_owned())
    });
    programs.collect()
}

#[cfg(test)]
mod tests {
    use super::started;

    #[test]
    fn the_programs_of_a_service_are_known_by_their_paths() {
        let unit = b"[Unit]\nExecStart=/no\n[Service]\nExecStartPre=/usr/bin/first\n\
            ExecStart=-!/usr/sbin/nginx -g 'daemon on;'\nExecStart=\"/opt/a b/c\" x\nExecStart=relative\n";
        assert_eq!(started(unit), ["/usr/sbin/nginx", "/opt/a b/c"]);
    }
}
