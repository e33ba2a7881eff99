//! What a postinst does when dpkg tells it of a trigger (deb-triggers(5)).

use super::tokens::{Token, Word, tokens};

/// Commands that tell a running system something, and leave no file behind.
const DAEMONS: [&str; 17] = [
    "apparmor_parser",
    "busctl",
    "dbus-send",
    "deb-systemd-invoke",
    "firewall-cmd",
    "initctl",
    "invoke-rc.d",
    "kill",
    "killall",
    "pkill",
    "rc-service",
    "service",
    "start-stop-daemon",
    "sysctl",
    "systemctl",
    "systemd-sysctl",
    "udevadm",
];
/// Commands that change nothing.
const HARMLESS: [&str; 25] = [
    ":", "[", "[[", "break", "command", "continue", "db_stop", "echo", "exit", "false", "grep",
    "ischroot", "logger", "pidof", "printf", "readlink", "return", "set", "shift", "sleep", "test",
    "true", "type", "unset", "which",
];
/// Words after which a command starts.
const KEYWORDS: [&str; 14] = [
    "!", "do", "done", "elif", "else", "esac", "fi", "if", "then", "time", "until", "while", "{",
    "}",
];
/// How deep functions may call each other.
const DEPTH: usize = 8;
/// Subcommands of systemctl(1) that write files.
const SYSTEMCTL_WRITES: [&str; 9] = [
    "add-requires",
    "add-wants",
    "disable",
    "edit",
    "enable",
    "link",
    "mask",
    "preset",
    "set-default",
];

/// Says whether all that a postinst does for a trigger is to tell daemons of it, which then run on a
/// machine and not in an image.
///
/// Only what the script does for the word `triggered` counts. A script that never asks for this
/// word does its work every time, and what cannot be read counts as work.
pub fn only_tells_daemons(postinst: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(postinst) else {
        return false;
    };
    let is_shell = text.lines().next().is_some_and(|line| {
        let line = line.trim_end();
        line.starts_with("#!")
            && (line.contains("/sh") || line.contains("/bash") || line.contains("dash"))
    });
    let script = Script {
        tokens: tokens(text),
    };
    let branches = script.branches();
    let harmless = |branch: &&[Token]| script.is_harmless(branch, DEPTH);
    is_shell && !branches.is_empty() && branches.iter().all(harmless)
}

struct Script {
    tokens: Vec<Token>,
}

impl Script {
    /// Returns what is done where the first argument is `triggered`.
    fn branches(&self) -> Vec<&[Token]> {
        let places = self.tokens.iter().enumerate();
        let places = places.filter(|(_, token)| text(token) == Some("triggered"));
        places.map(|(at, _)| self.branch(at)).collect()
    }

    fn branch(&self, at: usize) -> &[Token] {
        let rest = &self.tokens[at + 1..];
        let Some(first) = rest.first() else {
            return &[];
        };
        if matches!(first, Token::Operator(")" | "|")) {
            let open = rest.iter().position(|t| *t == Token::Operator(")"));
            let body = &rest[open.map_or(0, |open| open + 1)..];
            return &body[..end_of(body, &["case"], &["esac"], |token| {
                *token == Token::Operator(";;")
            })];
        }
        let line = rest.iter().position(|t| *t == Token::Operator("\n"));
        let then = rest.iter().position(|t| text(t) == Some("then"));
        match (then, line) {
            (Some(then), line) if line.is_none_or(|line| then <= line + 1) => {
                let body = &rest[then + 1..];
                &body[..end_of(body, &["if"], &["fi"], |token| {
                    matches!(text(token), Some("else" | "elif"))
                })]
            }
            // `[ "$1" = triggered ] && …`
            (_, line) => {
                let line = &rest[..line.unwrap_or(rest.len())];
                let start = line.iter().position(|t| matches!(t, Token::Operator(_)));
                &line[start.unwrap_or(line.len())..]
            }
        }
    }

    /// Returns the body of a function.
    fn function(&self, name: &str) -> Option<&[Token]> {
        let start = self.tokens.windows(3).position(|window| {
            text(&window[0]) == Some(name)
                && window[1] == Token::Operator("(")
                && window[2] == Token::Operator(")")
        })?;
        let rest = &self.tokens[start + 3..];
        let open = rest.iter().position(|t| text(t) == Some("{"))?;
        let body = &rest[open + 1..];
        Some(&body[..end_of(body, &["{"], &["}"], |_| false)])
    }

    fn is_harmless(&self, body: &[Token], depth: usize) -> bool {
        let mut at = 0;
        let mut starts = true;
        while let Some(token) = body.get(at) {
            at += 1;
            match token {
                Token::Redirection => {
                    let to = body.get(at).and_then(text).unwrap_or_default();
                    if !(to == "/dev/null" || to == "-" || to.bytes().all(|b| b.is_ascii_digit())) {
                        return false;
                    }
                    at += 1;
                }
                // The next patterns of a case.
                Token::Operator(";;") => {
                    at += after_pattern(&body[at..]);
                    starts = true;
                }
                Token::Operator(_) => starts = true,
                Token::Word(word) if !self.reads_only(word, depth) => return false,
                Token::Word(_) if !starts => {}
                Token::Word(word) if word.text == "case" => {
                    let within = body[at..].iter().position(|t| text(t) == Some("in"));
                    at += within.map_or(0, |within| within + 1);
                    at += after_pattern(&body[at..]);
                }
                Token::Word(word) if word.text == "for" => {
                    let within = body[at..]
                        .iter()
                        .position(|t| matches!(t, Token::Operator(";" | "\n")));
                    at += within.unwrap_or(body.len() - at);
                }
                Token::Word(word) => {
                    if !is_keyword(&word.text) && !is_assignment(&word.text) {
                        starts = false;
                        if !self.runs_harmless(&word.text, &body[at..], depth) {
                            return false;
                        }
                    }
                }
            }
        }
        true
    }

    /// Says whether a command is harmless, given what follows its name.
    fn runs_harmless(&self, command: &str, arguments: &[Token], depth: usize) -> bool {
        if let Some(body) = self.function(command) {
            return depth > 0 && self.is_harmless(body, depth - 1);
        }
        let name = command.rsplit('/').next().unwrap_or(command);
        if name == "systemctl" {
            let words = arguments.iter().map_while(text);
            return !words
                .into_iter()
                .any(|word| SYSTEMCTL_WRITES.contains(&word));
        }
        DAEMONS.contains(&name) || HARMLESS.contains(&name)
    }

    /// Says whether the substitutions of a word change nothing.
    fn reads_only(&self, word: &Word, depth: usize) -> bool {
        let harmless = |inner: &String| depth > 0 && self.is_harmless(&tokens(inner), depth - 1);
        word.substitutions.iter().all(harmless)
    }
}

fn text(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) => Some(&word.text),
        Token::Operator(_) | Token::Redirection => None,
    }
}

/// Returns where a body ends: at its closing word, or where `ends` says, outside of what nests.
fn end_of(body: &[Token], opens: &[&str], closes: &[&str], ends: fn(&Token) -> bool) -> usize {
    let mut depth = 0_usize;
    for (at, token) in body.iter().enumerate() {
        let word = text(token).unwrap_or_default();
        if opens.contains(&word) {
            depth += 1;
        } else if closes.contains(&word) {
            if depth == 0 {
                return at;
            }
            depth -= 1;
        } else if depth == 0 && ends(token) {
            return at;
        }
    }
    body.len()
}

/// Returns how many tokens belong to the patterns that follow; none where the case ends.
fn after_pattern(rest: &[Token]) -> usize {
    let first = rest.iter().position(|t| *t != Token::Operator("\n"));
    match first.and_then(|first| text(&rest[first])) {
        Some("esac") => 0,
        _ => {
            // A pattern may stand in parentheses.
            let close = rest.iter().position(|t| *t == Token::Operator(")"));
            close.map_or(0, |close| close + 1)
        }
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

fn is_assignment(word: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::only_tells_daemons;

    fn check(script: &str, expect: bool) {
        let script = format!("#!/bin/sh\nset -e\n{script}");
        assert_eq!(only_tells_daemons(script.as_bytes()), expect, "{script}");
    }

    /// The branches of Debian trixie's mariadb-server, php8.4-fpm, rsyslog, firewalld, postfix,
    /// dovecot-core, procps and dbus.
    #[test]
    fn a_restart_a_reload_and_a_message_are_a_daemons_business() {
        for script in [
            "case \"$1\" in\n configure)\n  mkdir /x\n  ;;\n triggered)\n  if [ -d /run/systemd/system ]\n  then\n   systemctl --system daemon-reload\n  elif [ -x /etc/init.d/mariadb ]\n  then\n   invoke-rc.d mariadb restart\n  fi\n  ;;\n *)\n  echo \"bad\" 1>&2\n  exit 1\n  ;;\nesac\ndb_stop\n",
            "if [ \"$1\" = \"triggered\" ] && [ \"$2\" = \"/etc/php/8.4/fpm/conf.d\" ]; then\n invoke-rc.d php8.4-fpm restart\nfi\nmkdir /x\n",
            "case \"$1\" in\n configure) x ;;\n triggered)\n # Try\n invoke-rc.d rsyslog try-restart || true\n exit 0\n ;;\nesac\n",
            "case $1 in\n triggered)\n firewall-cmd --quiet --reload || true\n;;\nesac",
            "if [ \"$1\" = triggered ]; then\n [ -z \"$DPKG_ROOT\" ] || exit 0\n echo \"Restarting postfix\"\n if [ -d /run/systemd/system ]; then\n  deb-systemd-invoke restart postfix.service >/dev/null || :\n else\n  invoke-rc.d postfix restart || :\n fi\n exit\nfi\nnewaliases\n",
            "update() {\n if ! [ -d /run/systemd/system ] \\\n  && ! ischroot \\\n  && ! grep -qz '^container=' /proc/1/environ; then\n  sysctl -q --system || true\n fi\n}\nif [ \"$1\" = \"triggered\" ]; then\n shift\n for trigger in \"$@\"; do\n  case \"$trigger\" in\n   /usr/lib/sysctl.d)\n    update\n   ;;\n   /x|/y) true ;;\n  esac\n done\n exit 0\nfi\ntouch /x\n",
            "reload() {\n [ -S /var/run/dbus/system_bus_socket ] || return 0\n dbus-send --print-reply \\\n --dest=x > /dev/null || true\n}\nif [ \"$1\" = triggered ]; then\n reload\n exit 0\nfi",
            "case $1 in (configure) x;; (triggered) ;; esac",
            "[ \"$1\" = triggered ] && service x reload\nmkdir /x",
        ] {
            check(script, true);
        }
    }

    #[test]
    fn what_leaves_a_file_behind_and_what_cannot_be_read_is_work() {
        for script in [
            "update-x\n",
            "if [ \"$1\" = triggered ]; then update-x; fi",
            "if [ \"$1\" = triggered ]; then\n echo x > /etc/x\nfi",
            "if [ \"$1\" = triggered ]; then\n invoke-rc.d x restart\n $COMMAND\nfi",
            "if [ \"$1\" = triggered ]; then\n echo \"$(update-x)\"\nfi",
            "if [ \"$1\" = triggered ]; then\n systemctl enable x\nfi",
            "work() { rebuild; }\ncase $1 in triggered) work ;; esac",
            "case $1 in (triggered) case $2 in a) true ;; b) update-x ;; esac ;; esac",
            "case $1 in configure|triggered) update-x ;; esac",
            "loop() { loop; }\ncase $1 in triggered) loop ;; esac",
            "if [ \"$1\" = triggered ]; then true; fi\nif [ \"$1\" = triggered ]; then update-x; fi",
            "[ \"$1\" = triggered ] && update-x",
        ] {
            check(script, false);
        }
        assert!(!only_tells_daemons(
            b"#!/usr/bin/perl\nif ($ARGV[0] eq 'triggered') { exit 0; }\n"
        ));
        assert!(!only_tells_daemons(b"\xff"));
    }
}
