"""A master and its replica, of which the test decides which is which."""

from __future__ import annotations

from pathlib import Path

from tests.support.servers import Valkey, wait_until

__all__ = ["follow", "promote", "start_pair"]


def start_pair(server_class: type[Valkey], directory: Path) -> tuple[Valkey, Valkey]:
    """Start a master and its replica."""
    servers = []
    for name in ("master", "replica"):
        (directory / name).mkdir()
        server = server_class(directory / name)
        server.command += ["--repl-diskless-sync-delay", "0"]
        server.start()
        servers.append(server)
    master, replica = servers
    follow(replica, master)
    return master, replica


def follow(replica: Valkey, master: Valkey) -> None:
    """Make ``replica`` a copy of ``master``, and wait until it is one."""
    with replica.client() as client, master.client() as source:
        client.replicaof("127.0.0.1", master.port)
        wait_until(
            lambda: (
                client.info("replication")["master_link_status"] == "up"
                and client.info("replication")["slave_repl_offset"]
                == source.info("replication")["master_repl_offset"]
            ),
            what="a copy",
        )


def promote(server: Valkey) -> None:
    """Make a replica a master."""
    with server.client() as client:
        client.replicaof("NO", "ONE")
