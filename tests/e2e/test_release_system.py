"""`sensorium release` on a system of its own: made, staged, tried, promoted, taken back."""

from __future__ import annotations

import time
from pathlib import Path

from fixtures_triton_releases import release

from cli.catalogues import demo_manifest
from cli.client import Client
from cli.stack import Stack
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2 as pb

WORDS = "An unpaid invoice for the plumbing of a lighthouse."


def answered_by(stack: Stack, user: str = "") -> str:
    with Client(stack.target) as client:
        answer = client.search(pb.SearchRequest(parts=[pb.QueryPart(text=WORDS)], user=user, limit=1))
    assert [hit.item.id for hit in answer.hits] == ["invoice"]
    assert not answer.degraded
    return answer.release


def test_a_release_from_making_to_rollback(release_stack: Stack) -> None:
    stack = release_stack
    catalogue: Path = demo_manifest(load_settings().home)
    with Client(stack.target) as client:
        (result,) = client.upsert([pb.Item(id="invoice", description=WORDS)])
        assert result.error.code == ""
    own = answered_by(stack)
    release(stack, "create", "r1", "--note", "first")
    assert "there is a release r1 already" in release(stack, "create", "r1", code=1)
    assert "not staged" in release(stack, "promote", "r1", code=1)
    said = release(stack, "stage", "r1", "--catalogue", str(catalogue), "--skip-relevance")
    assert "encode_video embedding, worst cosine" in said
    assert "FAILED" not in said
    assert answered_by(stack) == own, "staging changes nothing that is served"
    release(stack, "canary", "r1", "--percent", "100")
    # The orchestrator follows within half a second; the command does not wait for it.
    with Client(stack.target) as client:
        while client.status().releases["r1"].role != "canary":
            time.sleep(0.1)
    assert answered_by(stack, user="anybody") == "r1"
    assert "canary" in release(stack, "list")
    release(stack, "canary", "r1", "--percent", "0")
    release(stack, "promote", "r1")
    assert answered_by(stack) == "r1"
    release(stack, "rollback", "--why", "a test")
    assert answered_by(stack) == own
    assert "what a rollback goes back to" in release(stack, "unstage", "r1", code=1)
    release(stack, "rollback")
    assert answered_by(stack) == "r1"
    assert "the current one" in release(stack, "unstage", "r1", code=1)
    assert "a test" in release(stack, "list")
    assert "encode_text" in release(stack, "show", "r1")
    release(stack, "rollback")
