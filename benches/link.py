#!/usr/bin/python3
"""A link with a delay and a rate between two network namespaces, for kernels without tc's netem.

usage: link.py NAMESPACE NAMESPACE DELAY_MS MBIT_PER_S [QUEUE_KB]   as root

Makes a TUN device in each namespace, 10.99.0.1 in the first and 10.99.0.2 in the second, and carries packets between them:
each direction sends at the rate, drops what exceeds its queue, and delivers after the delay. So the TCP of the kernel does
what it does on a real link: handshakes cost a round trip, and windows have to grow. Prints "ready", and ends with its
standard input.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MTU = 1500


class Direction:
    """Packets from one device to the other."""

    def __init__(self, source, sink, delay, rate, queue):
        self.source, self.sink, self.delay, self.rate, self.queue = source, sink, delay, rate, queue
        self.packets = collections.deque()
        self.free = 0.0  # when the last packet has left the sender

    def take(self, now):
        """Reads what the sender has."""
        for _ in range(64):
            try:
                packet = os.read(self.source, MTU + 64)
            except BlockingIOError:
                return
            start = max(now, self.free)
            # What waits to be sent is what the rate has not carried yet.
            if (start - now) * self.rate > self.queue:
                continue
            self.free = start + len(packet) / self.rate
            self.packets.append((self.free + self.delay, packet))

    def give(self, now):
        """Writes what has arrived, and returns when the next packet will."""
        while self.packets and self.packets[0][0] <= now:
            try:
                os.write(self.sink, self.packets.popleft()[1])
            except OSError:
                pass  # the other end is down: that is a lost packet
        return self.packets[0][0] if self.packets else None


def device(name, namespace, address):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    ip = lambda *words: subprocess.run(["ip", *words], check=True)
    ip("link", "set", name, "netns", namespace)
    ip("-n", namespace, "link", "set", name, "name", "wire")
    ip("-n", namespace, "address", "add", address + "/30", "dev", "wire")
    ip("-n", namespace, "link", "set", "wire", "mtu", str(MTU), "txqueuelen", "1000", "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    return fd


def main():
    first, second, delay, rate, *rest = sys.argv[1:]
    delay, rate = float(delay) / 1000, float(rate) * 1e6 / 8
    # A round trip's worth of packets, twice.
    queue = float(rest[0]) * 1000 if rest else 4 * delay * rate
    one = device("ls%d-1" % os.getpid(), first, "10.99.0.1")
    two = device("ls%d-2" % os.getpid(), second, "10.99.0.2")
    ways = [Direction(one, two, delay, rate, queue), Direction(two, one, delay, rate, queue)]
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        due = [at for at in (way.give(now) for way in ways) if at is not None]
        wait = max(0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([one, two, 0], [], [], wait)
        now = time.monotonic()
        try:
            for way in ways:
                if way.source in ready:
                    way.take(now)
        except OSError:
            return  # its namespace is gone
        if 0 in ready and not os.read(0, 1):
            return


if __name__ == "__main__":
    main()
