"""The tree against the recursive definition of RFC 6962, for every size and every leaf."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.log import merkle
from reconciler.log.note import Checkpoint, Proof, VerifierKey, key_id


def recursive(leaves: list[bytes]) -> bytes:
    """MTH as the RFC writes it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + recursive(leaves[:split]) + recursive(leaves[split:])).digest()


def grown(leaves: list[bytes], watched: int | None = None, cut: int = 0) -> merkle.Tree:
    """The tree, grown in one go or in two."""
    first = merkle.Tree()
    for data in leaves[:cut]:
        first.grow(merkle.leaf(data))
    tree = merkle.Tree(watched, first.peaks)
    for data in leaves[cut:]:
        tree.grow(merkle.leaf(data))
    return tree


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH as the RFC writes it."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path(index, leaves[:split]), recursive(leaves[split:])]
    return [*path(index - split, leaves[split:]), recursive(leaves[:split])]


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 100])
def test_root_and_every_proof_are_those_of_the_definition(size: int) -> None:
    leaves = [b"%d" % number for number in range(size)]
    root = recursive(leaves)
    for index in range(size):
        tree = grown(leaves, index)
        assert tree.root() == root
        for cut in {0, index // 2, index}:
            # What was grown before may be known by its subtrees alone.
            assert grown(leaves, index, cut).proof() == tree.proof() and grown(leaves, None, cut).root() == root
        assert tree.proof() == path(index, leaves)
        assert merkle.included(merkle.leaf(leaves[index]), index, size, tree.proof(), root)


def test_the_root_of_the_known_vectors() -> None:
    # The published test vectors of certificate transparency: the empty tree, and the tree of one empty leaf.
    assert merkle.Tree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert grown([b""]).root().hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(st.integers(1, 40), st.data())
def test_no_other_leaf_place_size_or_path_is_proven(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    tree = grown(leaves, index)
    proof, root, own = tree.proof(), tree.root(), merkle.leaf(leaves[index])
    assert not merkle.included(merkle.leaf(b"other"), index, size, proof, root)
    other = data.draw(st.integers(-1, size + 1))
    assert other == index or not merkle.included(own, other, size, proof, root)
    assert not merkle.included(own, index, size, [*proof, root], root)
    if proof:
        assert not merkle.included(own, index, size, proof[:-1], root)
        assert not merkle.included(own, index, size, [root, *proof[1:]], root)


KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def test_the_published_example_of_a_signed_note_is_read_and_checked() -> None:
    key = VerifierKey.parse(KEY)
    assert key.name == "PeterNeumann" and key_id(key.name, key.public).hex() == "c74f20a3" and str(key) == KEY
    assert key.signed(NOTE).endswith("then you don't know what your problem is.\n")
    for broken in (
        NOTE.replace("think", "thing"),
        NOTE.replace("x08go/ZJ", "x08go/ZK"),
        NOTE.replace("\u2014", "-"),
        "",
        "\n\n",
    ):
        with pytest.raises(ValueError):
            key.signed(broken)
    for broken in ("", "a", "a+b+c", KEY[:-4], KEY.replace("c74f", "c74e"), KEY.removeprefix("PeterNeumann")):
        with pytest.raises(ValueError):
            VerifierKey.parse(broken)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "a\n-1\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=", "a\n1\n" + "A" * 43 + "=\n\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Checkpoint.parse(text)


@given(st.text(max_size=200))
def test_no_text_is_taken_for_a_proof_by_accident(text: str) -> None:
    try:
        Proof.parse(text)
    except ValueError:
        return
    assert text.startswith("c2sp.org/tlog-proof@v1\n")
