"""The iptables chains of kube-proxy, kubelet and the CNI plugins: to see them and to take out ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.testbed.errors import ClusterError
from tests.testbed.tools import output, succeeds, which

FAMILIES = ("iptables", "ip6tables")
PREFIXES = ("KUBE-", "CNI-")
BUILT_IN = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
KUBE_PROXY_CHAIN = "KUBE-SERVICES"


@dataclass
class Table:
    """One table of an iptables-save: its chains and its rules, in order."""

    name: str
    chains: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def parse(saved: str) -> list[Table]:
    """The tables in the output of iptables-save."""
    tables: list[Table] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            tables.append(Table(line[1:].strip()))
        elif line.startswith(":") and tables:
            tables[-1].chains.append(line[1:].split()[0])
        elif line.startswith("-A ") and tables:
            tables[-1].rules.append(line)
    return tables


def kubernetes_chains(tables: Collection[Table]) -> list[str]:
    """`table chain` of every chain that Kubernetes or a CNI plugin made."""
    return [f"{table.name} {chain}" for table in tables for chain in table.chains if chain.startswith(PREFIXES)]


def removal(tables: Collection[Table], keep: Collection[str]) -> str:
    """Input for `iptables-restore --noflush` that removes those chains, and the rules that jump to them.

    `keep` holds `table chain` of chains that were there before us. Every other rule stays as it is.
    """
    lines: list[str] = []
    for table in tables:
        ours = [name for name in table.chains if name.startswith(PREFIXES) and f"{table.name} {name}" not in keep]
        if not ours:
            continue
        lines.append(f"*{table.name}")
        # Naming a chain empties it, so that no order of removal matters.
        lines += [f":{name} - [0:0]" for name in ours]
        lines += ["-D " + rule[3:] for rule in table.rules if _jumps_into(rule, ours)]
        lines += [f"-X {name}" for name in ours]
        lines.append("COMMIT")
    return "\n".join([*lines, ""]) if lines else ""


def snapshot() -> tuple[list[str], list[str]]:
    """(chains, tables) now, as `iptables nat KUBE-X` and `iptables nat`."""
    chains: list[str] = []
    used: list[str] = []
    for family, tables in _saved():
        chains += [f"{family} {chain}" for chain in kubernetes_chains(tables)]
        used += [f"{family} {table.name}" for table in tables]
    return chains, used


def kube_proxy_present() -> bool:
    """Whether some kube-proxy set up this machine's network."""
    return any(name.endswith(f" {KUBE_PROXY_CHAIN}") for name in snapshot()[0])


def clean(chains_before: Collection[str], tables_before: Collection[str]) -> None:
    """Remove every Kubernetes and CNI chain but those of before, then the tables that nobody uses now."""
    for family, tables in _saved():
        keep = {entry.removeprefix(f"{family} ") for entry in chains_before if entry.startswith(f"{family} ")}
        if script := removal(tables, keep):
            output(f"{family}-restore", "--noflush", stdin=script)
    for family, tables in _saved():
        for table in tables:
            if f"{family} {table.name}" not in tables_before:
                _drop_empty(family, table)


def _drop_empty(family: str, table: Table) -> None:
    """Remove a table without rules and chains of anybody; the legacy variant of iptables keeps it."""
    if set(table.chains) <= BUILT_IN and not table.rules and "nf_tables" in output(family, "--version"):
        succeeds("nft", "delete", "table", "ip6" if family == "ip6tables" else "ip", table.name)


def _jumps_into(rule: str, chains: list[str]) -> bool:
    source = rule.split()[1]
    # A comment, in quotes, may hold anything.
    target = re.search(r" (?:-j|-g) (\S+)", re.sub(r'"(?:\\.|[^"\\])*"', "", rule))
    return source not in chains and target is not None and target[1] in chains


def _saved() -> Iterator[tuple[str, list[Table]]]:
    for family in FAMILIES:
        if not which(f"{family}-save"):
            continue
        try:
            yield family, parse(output(f"{family}-save"))
        except ClusterError:
            if family == "iptables":  # IPv6 may be off
                raise
