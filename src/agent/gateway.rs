//! Whether the router of the default route is there, as far as this machine's own network says it.
//!
//! A datagram to it makes the kernel look for its neighbour: where nobody answers, the socket is told
//! `EHOSTUNREACH` after three tries, a second each. A refusal (ICMP) proves that it is there, and so
//! does silence after that time: routers need not answer.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

/// How long the kernel looks for a neighbour, with some to spare: `mcast_solicit` times
/// `retrans_time_ms`, arp(7).
const SEARCH: Duration = Duration::from_millis(4500);

/// The discard service, RFC 863: whoever gets the datagram need not do anything about it.
const DISCARD: u16 = 9;

/// Says whether any router of a default route is there.
pub(super) fn answers(limit: Duration) -> Result<(), String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut gateways = of_ipv4(&read("/proc/net/route"));
    let names = interfaces();
    gateways.extend(of_ipv6(&read("/proc/net/ipv6_route"), &names));
    if gateways.is_empty() {
        return Err("there is no default route".to_owned());
    }
    let mut problem = String::new();
    for gateway in gateways {
        match ask(gateway, limit.max(SEARCH)) {
            Ok(()) => return Ok(()),
            Err(error) => {
                problem = format!("the gateway {} does not answer: {error}", gateway.ip())
            }
        }
    }
    Err(problem)
}

fn ask(gateway: SocketAddr, limit: Duration) -> std::io::Result<()> {
    let any: IpAddr = match gateway {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(limit))?;
    socket.connect(gateway)?;
    socket.send(&[])?;
    match socket.recv(&mut [0; 1]) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
            _ => Err(error),
        },
    }
}

/// Finds the routers of default routes in `/proc/net/route`: numbers in hexadecimal digits, in the
/// byte order of the machine.
fn of_ipv4(table: &str) -> Vec<SocketAddr> {
    let lines = table.lines().skip(1);
    let found = lines.filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (to, gateway) = (fields.next()?, fields.next()?);
        let mask = fields.nth(4)?;
        if (to, mask) != ("00000000", "00000000") {
            return None;
        }
        let number = u32::from_str_radix(gateway, 16).ok()?;
        let address = Ipv4Addr::from(number.to_ne_bytes());
        (!address.is_unspecified()).then(|| SocketAddr::from((address, DISCARD)))
    });
    found.collect()
}

/// Does the same for `/proc/net/ipv6_route`. The router is mostly a link-local address, so that the
/// interface belongs to it.
fn of_ipv6(table: &str, interfaces: &[(String, u32)]) -> Vec<SocketAddr> {
    let found = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [to, length, _, _, gateway, .., name] = fields.as_slice() else {
            return None;
        };
        if *length != "00" || to.bytes().any(|digit| digit != b'0') {
            return None;
        }
        let address = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
        let (_, scope) = interfaces.iter().find(|(known, _)| known == name)?;
        (!address.is_unspecified())
            .then(|| SocketAddr::from(SocketAddrV6::new(address, DISCARD, 0, *scope)))
    });
    found.collect()
}

/// Lists the network interfaces with their numbers.
fn interfaces() -> Vec<(String, u32)> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten();
    let found = entries.flatten().filter_map(|entry| {
        let number = std::fs::read_to_string(entry.path().join("ifindex")).ok()?;
        Some((
            entry.file_name().into_string().ok()?,
            number.trim().parse().ok()?,
        ))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_are_those_of_default_routes() {
        let route = |gateway: [u8; 4], to: &str, mask: &str| {
            let gateway = u32::from_ne_bytes(gateway);
            format!("eth0\t{to}\t{gateway:08X}\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let table = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned(),
            route([10, 0, 2, 2], "00000000", "00000000"),
            route([10, 0, 2, 3], "0002000A", "00FFFFFF"),
            // A default route by an interface has no router.
            route([0, 0, 0, 0], "00000000", "00000000"),
        ];
        assert_eq!(of_ipv4(&table.concat()), ["10.0.2.2:9".parse().unwrap()]);
        assert_eq!(of_ipv4(""), []);
    }

    #[test]
    fn an_ipv6_router_has_its_interface() {
        let zeros = "0".repeat(32);
        let link_local = format!("fe80{}02", "0".repeat(26));
        let line = |to: &str, length: &str, gateway: &str, name: &str| {
            format!("{to} {length} {zeros} 00 {gateway} 00000400 1 0 00000003     {name}\n")
        };
        let table = [
            line(&zeros, "00", &link_local, "eth0"),
            line(&zeros, "00", &zeros, "lo"),
            line(&link_local, "40", &link_local, "eth0"),
        ];
        let names = [("eth0".to_owned(), 2), ("lo".to_owned(), 1)];
        let found = of_ipv6(&table.concat(), &names);
        assert_eq!(found, ["[fe80::2%2]:9".parse().unwrap()]);
    }
}
