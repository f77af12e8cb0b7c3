"""A few thousand spoiled bundles on every run; `make fuzz` tries a million."""

from __future__ import annotations

from pathlib import Path

import pytest
import support.bundle_fuzzer
from support.bundle_fuzzer import BundleFuzzer, EscapedError

from engines.manifest import Manifest


def test_spoiled_bundles_end_in_an_error_of_ours_or_with_good_reason(tmp_path: Path) -> None:
    tally = BundleFuzzer(tmp_path).run(cases=4000, seconds=20.0)
    readers = {outcome.split()[0] for outcome in tally.outcomes}
    assert readers >= {"signatures", "manifest", "description", "array_file"}
    # A mutation that is never accepted would show only that the fuzzer breaks everything.
    for reader in ("manifest", "description", "array_file"):
        assert tally.outcomes[f"{reader} accepted"] > 0


def test_a_case_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = BundleFuzzer(tmp_path / "a").run(cases=60)
    halves = [BundleFuzzer(tmp_path / "b").run(cases=30)]
    (tmp_path / "c").mkdir()
    halves.append(BundleFuzzer(tmp_path / "c").run(cases=30, first=30))
    kinds = [outcome.split()[0] for outcome in whole.outcomes.elements()]
    assert sorted(kinds) == sorted(
        outcome.split()[0] for half in halves for outcome in half.outcomes.elements()
    )


def test_it_finds_a_reader_that_leaks_another_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader that numpy itself has is such a one."""
    import io  # noqa: PLC0415  only here

    import numpy as np  # noqa: PLC0415

    def naive(data: bytes, *, where: str) -> object:
        del where
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    monkeypatch.setattr(support.bundle_fuzzer, "decode_arrays", naive)
    with pytest.raises(EscapedError, match="array_file"):
        BundleFuzzer(tmp_path).run(cases=500)


def test_it_finds_a_reader_that_takes_what_is_not_canonical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lax(data: bytes, *, where: str) -> Manifest:
        del where
        try:
            return Manifest.model_validate_json(data)
        except ValueError as error:
            raise support.bundle_fuzzer.VigilError("refused") from error

    monkeypatch.setattr(support.bundle_fuzzer, "decode_manifest", lax)
    with pytest.raises(EscapedError, match="wrongly accepted"):
        BundleFuzzer(tmp_path).run(cases=5000)
