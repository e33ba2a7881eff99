//! Events in the journal, with fields to filter by and message ids that the catalogue explains.
//!
//! The format is systemd's "Native Journal Protocol": one datagram of `NAME=value` lines; a value of
//! several lines has its length in front, as 64 bits in little-endian order.

use std::os::unix::net::UnixDatagram;

use super::{Event, EventKind};

const SOCKET: &str = "/run/systemd/journal/socket";

/// Which entry of `units/layerset.catalog` explains an event.
fn message_id(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Staged => "c4f74d5f7d5e45a3b0ff14523f5ac12a",
        EventKind::Switched => "f446c93cb2324e2185723e9f38cbb51b",
        EventKind::Failed => "0bff9025e0f449618bb18505e0e3e002",
        EventKind::Returned => "7362819fb68745d18beef924e40338d6",
    }
}

/// Sends an event; a machine without a journal is told by other means.
pub(super) fn send(event: &Event) {
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A journal that is gone must not stop anything.
    let _ = socket.send_to(&encode(event), SOCKET);
}

fn encode(event: &Event) -> Vec<u8> {
    // syslog(3): 5 is a notice, 3 an error.
    let priority = match event.event {
        EventKind::Staged | EventKind::Switched => "5",
        EventKind::Failed | EventKind::Returned => "3",
    };
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let fields = [
        ("MESSAGE", Some(event.message.clone())),
        ("MESSAGE_ID", Some(message_id(event.event).to_owned())),
        ("PRIORITY", Some(priority.to_owned())),
        ("SYSLOG_IDENTIFIER", Some("layerset".to_owned())),
        ("LAYERSET_EVENT", Some(event.event.word().to_owned())),
        ("LAYERSET_TARGET", Some(event.target.clone())),
        ("LAYERSET_GENERATION", number(event.generation)),
        ("LAYERSET_FROM", number(event.from)),
        ("LAYERSET_IMAGE", event.image.map(|image| image.to_string())),
        ("LAYERSET_CHANNEL", event.channel.clone()),
        ("LAYERSET_SERIAL", number(event.serial)),
        ("LAYERSET_VERSION", event.version.clone()),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn an_event_is_a_datagram_of_fields() {
        let mut event = Event::new(
            EventKind::Returned,
            Path::new("/srv/web"),
            0,
            "one\ntwo".to_owned(),
        );
        event.generation = Some(3);
        let bytes = encode(&event);
        let start = [b"MESSAGE\n".as_slice(), &7u64.to_le_bytes(), b"one\ntwo\n"].concat();
        assert_eq!(&bytes[..start.len()], start);
        let rest = std::str::from_utf8(&bytes[start.len()..]).unwrap();
        let id = message_id(EventKind::Returned);
        assert_eq!(
            rest,
            format!(
                "MESSAGE_ID={id}\nPRIORITY=3\nSYSLOG_IDENTIFIER=layerset\nLAYERSET_EVENT=returned\n\
                 LAYERSET_TARGET=/srv/web\nLAYERSET_GENERATION=3\n"
            )
        );
    }

    #[test]
    fn the_catalogue_explains_every_event() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let catalogue = std::fs::read_to_string(top.join("units/layerset.catalog")).unwrap();
        for kind in [
            EventKind::Staged,
            EventKind::Switched,
            EventKind::Failed,
            EventKind::Returned,
        ] {
            let id = message_id(kind);
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(catalogue.contains(&format!("-- {id}\n")), "{}", kind.word());
        }
    }
}
