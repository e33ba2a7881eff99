//! How far a running mmdebstrap is, read from its output.

/// Follows mmdebstrap's progress by its output.
pub(super) struct BootstrapMeter {
    packages: usize,
    steps: usize,
    phase: &'static str,
}

impl BootstrapMeter {
    /// Expects `packages` to be unpacked and set up.
    pub(super) fn new(packages: usize) -> Self {
        Self {
            packages,
            steps: 0,
            phase: "preparing",
        }
    }

    /// Takes one line in and says whether anything changed.
    pub(super) fn see(&mut self, line: &str) -> bool {
        const PHASES: [(&str, &str); 4] = [
            ("I: extracting archives", "extracting"),
            (
                "I: installing essential packages",
                "installing essential packages",
            ),
            ("I: installing remaining packages", "installing packages"),
            ("I: cleaning package lists", "cleaning up"),
        ];
        if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            self.steps += 1;
            return true;
        }
        match PHASES.iter().find(|(start, _)| line.starts_with(start)) {
            Some((_, phase)) => {
                self.phase = phase;
                true
            }
            None => false,
        }
    }

    /// Returns what is being done, in words.
    pub(super) fn phase(&self) -> &'static str {
        self.phase
    }

    /// Counts unpacking and setting up each package as one step of equal length.
    pub(super) fn fraction(&self) -> f64 {
        let all = (2 * self.packages).max(1) as f64;
        (self.steps as f64 / all).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_follows_the_output_and_never_passes_the_end() {
        let mut meter = BootstrapMeter::new(2);
        assert!(meter.see("I: extracting archives...\n"));
        assert!(!meter.see("(Reading database ... 0 files)\n"));
        assert_eq!((meter.phase, meter.fraction()), ("extracting", 0.0));
        meter.see("I: installing essential packages...\n");
        for line in [
            "Unpacking a (1) ...",
            "Unpacking b (1) ...",
            "Setting up a (1) ...",
        ] {
            assert!(meter.see(line));
        }
        assert_eq!(
            (meter.phase, meter.fraction()),
            ("installing essential packages", 0.75)
        );
        for _ in 0..3 {
            meter.see("Setting up b (1) ...");
        }
        assert!((meter.fraction() - 1.0).abs() < f64::EPSILON);
    }
}
