"""Other libraries are asked in processes of their own: answers, errors, and what cannot be had."""

import sys

import peer
import pytest

SCRIPT = """
import answering

def answer(request):
    print("chatter is no answer")
    if request["n"] < 0:
        raise ValueError("n: need n >= 0")
    return {"squares": [k * k for k in range(request["n"])]}

answering.serve(answer, "pip")
"""


@pytest.fixture
def squares(tmp_path, monkeypatch):
    """A peer of this environment."""
    (tmp_path / "with_squares.py").write_text(SCRIPT)
    (tmp_path / "answering.py").write_text((peer.PEERS / "answering.py").read_text())
    monkeypatch.setattr(peer, "PEERS", tmp_path)
    monkeypatch.setattr(peer, "environment", lambda name: sys.executable)
    return tmp_path


def test_a_peer_answers_in_turn_and_lives_on_after_an_error(squares):
    with peer.Peer("squares") as asked:
        assert list(asked.versions) == ["pip"]
        found, seconds = asked.ask(n=3)
        assert found == {"squares": [0, 1, 4]} and 0 <= seconds < 1
        with pytest.raises(RuntimeError, match="squares: ValueError: n: need n >= 0"):
            asked.ask(n=-1)
        assert asked.ask(n=1)[0] == {"squares": [0]}
    assert asked.process.returncode == 0


def test_a_peer_that_does_not_start_is_missing(squares):
    (squares / "with_squares.py").write_text("raise SystemExit(3)")
    with pytest.raises(peer.Missing, match="squares: its process ended with status 3"):
        peer.Peer("squares")


def test_an_environment_that_cannot_be_made_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "ROOT", tmp_path)
    monkeypatch.setattr(peer, "PEERS", tmp_path)
    (tmp_path / "nothing.txt").write_text(f"nothing @ file://{tmp_path}/nothing.whl\n")
    with pytest.raises(peer.Missing, match=r"nothing: pip cannot install nothing\.txt"):
        peer.environment("nothing")


def test_ratios_leave_out_the_pair_that_warms_up():
    ours, theirs = iter([9.0, 1.0, 3.0, 2.0]), iter([1.0, 2.0, 2.0, 2.0])
    assert peer.ratios(lambda: next(ours), lambda: next(theirs), 3) == {"ratio": 1.0, "range": [0.5, 1.5], "turns": 3}
