"""Signatures of files with SSH keys, made and checked by ssh-keygen; FILE.sig stands beside FILE."""

from __future__ import annotations

import subprocess

from ..errors import HostError
from ..formats.text import printable


def signer_of(path: str, allowed: str, namespace: str) -> str | None:
    """Who in a file of allowed signers signed a file; None where nobody did."""
    signature, keygen = f"{path}.sig", ["ssh-keygen", "-Y"]
    search = [*keygen, "find-principals", "-s", signature, "-f", allowed]
    found = subprocess.run(search, capture_output=True, text=True, check=False)
    who = next(iter(found.stdout.splitlines()), "").strip() if found.returncode == 0 else ""
    if not who:
        return None
    with open(path, "rb") as file:
        words = [*keygen, "verify", "-f", allowed, "-I", who, "-n", namespace, "-s", signature]
        done = subprocess.run(words, stdin=file, capture_output=True, check=False)
    return who if done.returncode == 0 else None


def sign(path: str, key: str, namespace: str) -> str:
    """Sign a file; the name of the signature's file."""
    words = ["ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", namespace]
    with open(path, "rb") as file:
        done = subprocess.run(words, stdin=file, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HostError(f"{printable(key)}: cannot sign: {printable(said[-1] if said else 'ssh-keygen failed')}")
    with open(f"{path}.sig", "wb") as file:
        file.write(done.stdout)
    return f"{path}.sig"
