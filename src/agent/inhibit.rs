//! What keeps the agent from working for now: a battery, or a connection that is paid by the byte.

use std::path::Path;
use std::process::{Command, Stdio};

use super::AgentConfig;

/// Where the kernel tells of batteries and mains adapters.
const SUPPLIES: &str = "/sys/class/power_supply";

/// Says why the agent has to wait, if it has to.
pub(super) fn inhibited(config: &AgentConfig) -> Option<String> {
    if config.waits_for_power && on_battery(Path::new(SUPPLIES)) {
        return Some("the machine runs from a battery".to_owned());
    }
    if config.waits_for_free_network && is_metered() {
        return Some("the connection is metered".to_owned());
    }
    None
}

/// Says whether the machine runs from a battery, as `systemd-ac-power` does: some battery is
/// discharging, and no adapter is online.
fn on_battery(supplies: &Path) -> bool {
    let entries = std::fs::read_dir(supplies).into_iter().flatten();
    let mut discharges = false;
    for supply in entries.flatten().map(|entry| entry.path()) {
        let fact = |name: &str| std::fs::read_to_string(supply.join(name)).unwrap_or_default();
        // The battery of a mouse is none of the machine.
        if fact("scope").trim() == "Device" {
            continue;
        }
        match fact("type").trim() {
            "Battery" => discharges |= fact("status").trim() == "Discharging",
            _ if fact("online").trim() == "1" => return false,
            _ => {}
        }
    }
    discharges
}

/// Asks NetworkManager, where it runs, whether the connection is metered: `NMMetered` 1 is yes, and 3
/// is a guess of yes.
fn is_metered() -> bool {
    let mut ask = Command::new("busctl");
    ask.args(["--system", "--timeout=5", "get-property"])
        .args([
            "org.freedesktop.NetworkManager",
            "/org/freedesktop/NetworkManager",
        ])
        .args(["org.freedesktop.NetworkManager", "Metered"])
        .stdin(Stdio::null());
    // Without NetworkManager nobody knows, and most machines are not metered.
    let Ok(answer) = ask.output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    answer.status.success() && matches!(text.trim(), "u 1" | "u 3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_runs_from_a_battery_that_discharges_and_from_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let supply = |name: &str, facts: &[(&str, &str)]| {
            let at = dir.path().join(name);
            std::fs::create_dir_all(&at).unwrap();
            for (fact, value) in facts {
                std::fs::write(at.join(fact), format!("{value}\n")).unwrap();
            }
        };
        assert!(!on_battery(&dir.path().join("none")));
        let mouse = [
            ("type", "Battery"),
            ("scope", "Device"),
            ("status", "Discharging"),
        ];
        supply("mouse", &mouse);
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        assert!(!on_battery(dir.path()));
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert!(on_battery(dir.path()));
        supply("AC", &[("online", "1")]);
        assert!(!on_battery(dir.path()));
        supply("AC", &[("online", "0")]);
        supply("BAT0", &[("status", "Full")]);
        assert!(!on_battery(dir.path()));
    }
}
