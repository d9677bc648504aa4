//! Loopback ports that nobody else takes.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

// Below the range from which Linux (32768 and up) gives ports to outgoing connections, so none of these slips in.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A free loopback TCP port, reserved for as long as the value lives, also across restarts of the server on it.
///
/// The reservation is a UDP socket on the same number: TCP servers do not mind it, and every other test process asks
/// for it too. The kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Reserves a port.
    ///
    /// # Panics
    /// When none of the 10,000 ports of the range is free.
    #[must_use]
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at different places, so that they seldom try the same ports.
        let begin = std::process::id().wrapping_mul(7919);
        (0..COUNT)
            .find_map(|_| {
                let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
                let offset = begin.wrapping_add(step) % u32::from(COUNT);
                Self::reserve(FIRST + u16::try_from(offset).unwrap_or_default())
            })
            .unwrap_or_else(|| {
                let last = FIRST + (COUNT - 1);
                panic!("no free loopback port from {FIRST} to {last}; end what listens there")
            })
    }

    fn reserve(number: u16) -> Option<Self> {
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _reservation: reservation })
    }

    /// The port's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::TcpListener};

    use super::Port;

    #[test]
    fn reserved_ports_are_distinct_and_can_be_listened_on() {
        let ports: Vec<Port> = (0..50).map(|_| Port::free()).collect();
        let distinct: HashSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(distinct.len(), ports.len());
        for port in &ports {
            TcpListener::bind(port.address()).expect("a reserved port is free for its holder");
        }
    }

    #[test]
    fn a_port_in_use_or_reserved_is_not_given_out() {
        let port = Port::free();
        assert!(Port::reserve(port.number()).is_none(), "reserved twice");
        let number = port.number();
        let _listener = TcpListener::bind(port.address()).expect("the port is ours");
        drop(port);
        assert!(Port::reserve(number).is_none(), "given out while a server listens on it");
    }
}
