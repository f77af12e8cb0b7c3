"""`vigil ablate`: plans, the table's arithmetic, and rows that are run once whatever happens."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console
from support.bundles import open_network, write_projection
from support.clips import MemoryClip, write_pictures, write_rush

from engines.errors import (
    CannotCreateError,
    ConfigError,
    DataError,
    InputMissingError,
    UsageError,
)
from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer import feature_bank
from trainer.ablation import run_rows
from trainer.ablation.plan import PlanFile, choose_rows, load_plan, plan_names
from trainer.ablation.recipe import check_rows, recipe_key, resolve_row
from trainer.ablation.render import json_from_table, markdown_from_table, print_table
from trainer.ablation.render_html import html_from_table
from trainer.ablation.study import Failure, Figures, Scores, Study, StudyRecord, open_study
from trainer.ablation.table import Spread, build_table, difference, spread
from trainer.cli.ablate import ablate
from trainer.feature_bank import collect_features
from trainer.models.top_heavy import TimeAutoEncoder
from trainer.progress import SilentTraining

RECIPE = {
    "frame": {"width": 168, "height": 112},
    "streams": [
        {"name": "appearance", "kind": "appearance", "weight": 0.5},
        {"name": "speed", "kind": "speed", "encoder": "none", "weight": 0.5},
    ],
    "model": {"filters": [4, 4, 8, 6], "latent": 4, "components": 3},
    "training": {
        "patches": 300,
        "held_out_patches": 80,
        "batch": 20,
        "learning_rate": 1e-3,
        "pretrain": {"epochs": 1},
        "joint": {"epochs": 1},
    },
    "em": {"restarts": 1, "patches": 300},
}
PLAN = {
    "title": "Tiny | ones",
    "preset": "tiny.yaml",
    "settings": ["em.iterations=20"],
    "groups": [
        {
            "title": "Components",
            "question": "How many?",
            "base": "k-3",
            "rows": [
                {
                    "name": "k-1",
                    "what": "one",
                    "settings": ["model.components=1"],
                    "beside": {"frame_auc": 63.7, "source": "a paper"},
                },
                {"name": "k-3", "what": "three, as the base"},
            ],
        },
        {
            "title": "Gate",
            "question": "Which?",
            "rows": [
                {"name": "gate-15", "what": "the base again", "settings": ["gate.threshold=15"]},
                {"name": "gate-255", "what": "nothing moves", "settings": ["gate.threshold=255"]},
            ],
        },
    ],
}


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False), encoding="utf-8")
    return folder / "plan.yaml"


@pytest.fixture(scope="module")
def plan(plan_file: Path) -> PlanFile:
    return load_plan(str(plan_file))


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slow squares; in the test clip a bright bar rushes through frames 12 to 21."""
    root = tmp_path_factory.mktemp("yard")
    for seed in range(4):
        write_pictures(root / "normal" / f"n{seed}", MemoryClip(length=32, seed=seed, speed=2))
    clip = MemoryClip(length=30, seed=7, speed=2)
    write_rush(root, "t", clip, frames=range(12, 22), step=12)
    return root


def call(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(ablate, [*words, "--threads", "1", "--device", "cpu"])


# --- plans


@pytest.mark.parametrize("name", plan_names())
def test_every_row_of_a_shipped_plan_can_be_run(name: str) -> None:
    plan = load_plan(name)
    check_rows(plan, plan.plan.rows)
    bare = key_of(plan, plan.plan.rows[0].model_copy(update={"settings": (), "preset": None}))
    for group in plan.plan.groups:
        rows = {row.name: row for row in group.rows}
        keys = {name: key_of(plan, row) for name, row in rows.items()}
        assert keys[group.base_name] == bare, f"{group.title}: its base row is not the base recipe"
        assert len(set(keys.values())) == len(keys), f"{group.title}: two rows are the same"


def key_of(plan: PlanFile, row: object, seed: int = 0) -> str:
    return recipe_key(
        resolve_row(plan, row, seed), dataset="somewhere", layout=None, fps=None, versions={}
    )


def test_the_shipped_plans_are_there_and_hold_the_papers_figures() -> None:
    assert {"method", "accurate"} <= set(plan_names())
    rows = {row.name: row for row in load_plan("method").plan.rows}
    assert rows["k-20"].beside.frame_auc == 91.7
    assert rows["motion-only"].beside.pixel_eer == 46.7


@pytest.mark.parametrize("name", ["top-heavy", "top-heavy-whole"])
def test_a_plan_sets_the_mixed_auto_encoder_beside_the_all_3d_one(name: str) -> None:
    """One row differs by the design alone; its weights are those of the claimed ratio."""
    plan = load_plan(name)
    rows = {row.name: row for row in plan.plan.groups[0].rows}
    mixed, whole = (resolve_row(plan, rows[row], 0) for row in ("top-heavy", "all-3d"))
    assert (mixed.top_heavy.design, whole.top_heavy.design) == ("top-heavy", "all-3d")
    same = {"top_heavy": {**whole.top_heavy.model_dump(), "design": "top-heavy"}}
    assert mixed.model_dump() == {**whole.model_dump(), **same}
    sizes = [
        sum(weight.numel() for weight in TimeAutoEncoder(one.design, one.widths).parameters())
        for one in (mixed.top_heavy, whole.top_heavy)
    ]
    assert abs(sizes[0] / sizes[1] - 0.57) <= 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.update(preset_="x"), ("plan.yaml:", "unknown key", "did you mean 'preset'")),
        (lambda p: p["groups"][0]["rows"][0].update(setings=[]), ("settings", "groups[0].rows[0]")),
        (lambda p: p["groups"][0].pop("question"), ("'question' is missing",)),
        (lambda p: p["groups"][0].update(base="k-9"), ("'k-9' is no row",)),
        (lambda p: p["groups"][1]["rows"][0].update(name="k-1"), ("twice there are: k-1",)),
        (lambda p: p["groups"][0]["rows"][0].update(name="K 1"), ("rows[0].name",)),
        (lambda p: p["settings"].append("gate.threshold"), ("not key=value", "settings[1]")),
        (lambda p: p["settings"].append("seed=3"), ("--seeds",)),
        (lambda p: p["groups"][0]["rows"][0]["beside"].update(frame_auc=163), ("frame_auc",)),
        (lambda p: p["groups"][0]["rows"][0]["settings"].append("model.k=1"), ("k-1", "model.k")),
        (lambda p: p["groups"][0]["rows"][0].update(preset="papr"), ("k-1", "no preset 'papr'")),
        (
            lambda p: p["settings"].append("streams.speed.options.flor=3"),
            ("k-1", "k-3", "no option flor"),
        ),
        (
            lambda p: p["settings"].extend(["fusion.mode=z", "streams.speed.carry_s=1"]),
            ("need fusion mode surprise",),
        ),
    ],
)
def test_what_is_wrong_in_a_plan_is_named_with_its_line(
    plan_file: Path, tmp_path: Path, change: object, words: tuple[str, ...]
) -> None:
    raw = json.loads(json.dumps(PLAN))
    change(raw)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_and_check(path)
    for word in words:
        assert word in str(caught.value)
    assert f"{path}:" in caught.value.what


def load_and_check(path: Path) -> None:
    plan = load_plan(str(path))
    check_rows(plan, plan.plan.rows)


def test_the_line_is_that_of_the_row(plan_file: Path, plan: PlanFile) -> None:
    lines = plan_file.read_text().splitlines()
    for row in plan.plan.rows:
        assert f"name: {row.name}" in lines[plan.lines[row.name] - 1]


def test_plans_and_rows_that_are_not_there(plan: PlanFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no ablation plan 'methd'"):
        load_plan("methd")
    (tmp_path / "twice.yaml").write_text("title: a\ntitle: b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="twice"):
        load_plan(str(tmp_path / "twice.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        load_plan(str(tmp_path / "list.yaml"))
    with pytest.raises(UsageError, match="k-7") as caught:
        choose_rows(plan.plan, ["k-1", "k-7"])
    assert "gate-255" in str(caught.value.mend)
    assert [row.name for row in choose_rows(plan.plan, ["gate-15", "k-1"])] == ["k-1", "gate-15"]


# --- the table


def figures(key: str, seed: int, frame_auc: float | None, **more: object) -> Figures:
    values = {
        "key": key,
        "row": "k-1",
        "seed": seed,
        "scores": Scores(frame_auc=frame_auc, frame_eer=0.1),
        "streams": {"appearance": Scores(frame_auc=0.5), "speed": Scores()},
        "weights": {"appearance": 0.5, "speed": 0.5},
        "parameters": 1234,
        "ms_per_frame": 2.0,
        "train_minutes": 1.5,
        "frames": 10,
        "threads": 1,
        "versions": {},
        "finished": "2026-01-01T00:00:00Z",
        **more,
    }
    return Figures.model_validate(values)


def test_mean_and_spread() -> None:
    assert spread([]) is None
    assert spread([None, None]) is None
    assert spread([0.75, None]) == Spread(0.75, None, 1)
    found = spread([0.8, 0.9, 1.0])
    assert found is not None
    assert found.mean == pytest.approx(0.9)
    assert found.deviation == pytest.approx(0.1)  # of the sample: n - 1
    assert found.count == 3


def test_a_difference_is_taken_seed_by_seed() -> None:
    base = {0: figures("b", 0, 0.80), 1: figures("b", 1, 0.90), 5: figures("b", 5, 0.10)}
    row = {0: figures("r", 0, 0.82), 1: figures("r", 1, 0.94), 9: figures("r", 9, 1.00)}
    found = difference(row, base, "frame_auc")
    assert found is not None
    assert (found.mean, found.count) == (pytest.approx(0.03), 2)
    assert found.deviation == pytest.approx(np.std([0.02, 0.04], ddof=1))
    assert difference(row, base, "pixel_auc") is None
    assert difference({}, base, "frame_auc") is None


@pytest.fixture
def study(plan: PlanFile, tmp_path: Path) -> Study:
    """k-3 with seeds 0 and 1, k-1 with seed 0 and an old seed 1, gate-15 failed with seed 0."""
    record = StudyRecord(dataset="/yard", layout=None, fps=None, plan=plan.reference)
    study = open_study(tmp_path / "study", record)
    rows = {row.name: row for row in plan.plan.rows}

    def key(row: str, seed: int) -> str:
        return run_rows.pair_recipe(plan, rows[row], seed, study)[0]

    study.finish("k-3", figures(key("k-3", 0), 0, 0.80))
    study.finish("k-3", figures(key("k-3", 1), 1, 0.90, ms_per_frame=4.0))
    study.finish("k-1", figures(key("k-1", 0), 0, 0.75))
    study.finish("k-1", figures("of old", 1, 0.99))
    study.fail(
        Failure(
            key=key("gate-15", 0),
            row="gate-15",
            seed=0,
            what="<b>no | luck</b>",
            where=None,
            mend=None,
            exit_code=65,
        )
    )
    return study


def test_the_table_of_what_is_there(plan: PlanFile, study: Study) -> None:
    table = build_table(plan, study, study.seeds())
    one, three, failed, pending = table.rows
    assert table.seeds == (0, 1)
    assert (three.state, three.base, three.seeds) == ("done", True, (0, 1))
    assert three.figures["frame_auc"] == Spread(
        pytest.approx(0.85), pytest.approx(np.std([0.8, 0.9], ddof=1)), 2
    )
    assert three.ms_per_frame is not None
    assert three.ms_per_frame.mean == 3.0
    assert three.difference == {}
    assert three.streams.keys() == {"appearance"}
    assert (one.state, one.seeds, one.outdated) == ("partial", (0,), (1,))
    assert one.difference["frame_auc"] == Spread(pytest.approx(-0.05), None, 1)
    assert (failed.state, failed.failures[0].what) == ("failed", "<b>no | luck</b>")
    assert (pending.state, pending.parameters) == ("pending", None)


def test_all_forms_of_the_table_say_the_same(plan: PlanFile, study: Study) -> None:
    table = build_table(plan, study, (0, 1))
    values = json.loads(json_from_table(table))
    row = values["groups"][0]["rows"][0]
    assert row["frame_auc"] == {"mean": 0.75, "deviation": None, "count": 1}
    assert row["beside"] == {
        "source": "a paper",
        "frame_auc": 0.637,
        "frame_eer": None,
        "pixel_auc": None,
        "pixel_eer": None,
    }
    assert values["groups"][1]["rows"][1]["frame_auc"] is None
    page, markdown = html_from_table(table), markdown_from_table(table)
    written = io.StringIO()
    print_table(table, Console(file=written, width=80))  # too narrow for the table
    text = written.getvalue()
    for shown in (page, markdown, text):
        for words in ("85.0 ± 7.1", "-5.0", "1 of 2 seeds", "not finished", "1,234", "63.7"):
            assert words in shown
    assert "a paper: frame AUC 63.7" in text
    assert "&lt;b&gt;no" in page
    assert "<b>" not in page
    assert "://" not in page
    assert r"\| luck" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_the_key_knows_what_decides_the_figures(plan: PlanFile) -> None:
    row = plan.plan.rows[1]
    preset = resolve_row(plan, row, 0)
    stated = preset.model_copy(
        update={"frame": FrameSpec(width=168, height=112, fps=preset.frame.fps)}
    )

    def key(**changes: object) -> str:
        given = {"dataset": "/a", "layout": None, "fps": None, "versions": {"torch": "1"}}
        return recipe_key(changes.pop("preset", preset), **{**given, **changes})

    renamed = preset.model_copy(update={"name": "else"})
    assert key(preset=renamed) == key()
    others = [
        key(preset=resolve_row(plan, row, 1)),
        key(preset=stated),
        key(dataset="/b"),
        key(layout="ucsd"),
        key(fps=5.0),
        key(versions={"torch": "2"}),
    ]
    assert len({key(), *others}) == 7


def test_a_folder_holds_one_ablation(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset: '/yard', now '/other'"):
        open_study(study.root, study.record.model_copy(update={"dataset": "/other"}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(CannotCreateError, match="left alone"):
        open_study(tmp_path / "full", study.record)
    study.pair("k-3", 0).joinpath("figures.json").write_text("{}")
    with pytest.raises(DataError, match=r"figures.json is not what"):
        study.figures("k-3", 0)


# --- running


class Counted:
    """Counts calls; with `kill_at` the call of that number is interrupted."""

    def __init__(self, function: object, kill_at: int = 0) -> None:
        self.function, self.kill_at, self.calls = function, kill_at, 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls == self.kill_at:
            raise KeyboardInterrupt
        return self.function(*args, **kwargs)


def test_killed_and_resumed_no_work_is_done_twice(
    yard: Path, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = (
        "--dataset",
        yard,
        "--out",
        out,
        "--plan",
        plan_file,
        "--json",
        tmp_path / "t.json",
    )
    train = Counted(run_rows.run_training)
    evaluate = Counted(run_rows.evaluate_bundle, kill_at=2)
    monkeypatch.setattr(run_rows, "run_training", train)
    monkeypatch.setattr(run_rows, "evaluate_bundle", evaluate)

    stopped = call(*arguments)
    assert stopped.exit_code != 0
    assert "the same command goes on from here" in stopped.stderr
    assert (out / "rows/k-1/seed0/figures.json").is_file()
    assert not (out / "rows/k-1/seed0/run/bundle").exists()
    assert not (out / "rows/k-3/seed0/figures.json").exists()
    history = (out / "rows/k-3/seed0/run/streams/appearance/history.jsonl").read_text()
    assert (train.calls, evaluate.calls) == (2, 2)

    # k-3 was trained when the kill came; gate-15 is the same recipe; gate-255 fails.
    result = call(*arguments)
    assert isinstance(result.exception, DataError)
    assert "gate-255" in result.exception.what
    assert "nothing moves" in result.exception.what
    assert (train.calls, evaluate.calls) == (4, 3)
    assert "k-1, seed 0: done" in result.stderr
    assert "gate-15, seed 0: the same recipe as k-3" in result.stderr
    assert "1 of 1 seeds" not in result.stdout
    run = out / "rows/k-3/seed0/run"
    assert (run / "streams/appearance/history.jsonl").read_text() == history
    assert not (run / "bundle").exists()
    assert not list(run.rglob("*.pt"))

    rows = [
        r
        for group in json.loads((tmp_path / "t.json").read_text())["groups"]
        for r in group["rows"]
    ]
    one, three, same, failed = rows
    assert [row["state"] for row in rows] == ["done", "done", "done", "failed"]
    assert same["frame_auc"] == three["frame_auc"]
    assert three["frame_auc"]["mean"] > 0.5
    assert one["difference"]["frame_auc"]["mean"] == pytest.approx(
        one["frame_auc"]["mean"] - three["frame_auc"]["mean"]
    )
    assert three["streams"].keys() == {"appearance", "speed"}
    assert three["parameters"] > 100
    assert three["ms_per_frame"]["mean"] > 0
    assert three["train_minutes"]["mean"] > 0
    assert failed["failures"][0]["seed"] == 0
    assert failed["frame_auc"] is None

    # What failed is tried again, and only that; another seed of one row alone runs that row.
    call(*arguments)
    assert (train.calls, evaluate.calls) == (5, 3)
    kept = call(*arguments[:6], "--seeds", "0, 4", "--only", "k-1", "--keep-bundles")
    assert kept.exit_code == 0
    assert (train.calls, evaluate.calls) == (6, 4)
    assert (out / "rows/k-1/seed4/run/bundle/manifest.json").is_file()
    assert (out / "rows/k-1/seed4/evaluation.json").is_file()

    shown = call("--out", out, "--table-only", "--markdown", tmp_path / "t.md")
    assert shown.exit_code == 0
    assert train.calls == 6
    assert "seed(s) 0, 4" in shown.stdout
    assert "1 of 2 seeds" in (tmp_path / "t.md").read_text()


def test_wrong_use_is_told_before_anything_runs(
    yard: Path, plan_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("--out", out, "--plan", plan_file)
    assert isinstance(call(*common).exception, UsageError)
    assert isinstance(call("--out", out, "--table-only").exception, InputMissingError)
    assert call(*common, "--dataset", yard, "--seeds", "0,x").exit_code == 2
    unknown = call(*common, "--dataset", yard, "--only", "k-7")
    assert isinstance(unknown.exception, UsageError)
    (tmp_path / "half" / "normal").mkdir(parents=True)
    write_pictures(tmp_path / "half" / "normal" / "n", MemoryClip(length=4))
    untested = call(*common, "--dataset", tmp_path / "half")
    assert isinstance(untested.exception, InputMissingError)
    assert not out.exists()


def test_features_are_shared_by_runs_of_the_same_input_and_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Counted(feature_bank._look)
    monkeypatch.setattr(feature_bank, "_look", look)
    clips = [MemoryClip(name=f"c{seed}", length=8, seed=seed) for seed in range(2)]
    for seed in (1, 2):
        write_projection(tmp_path / f"{seed}.onnx", seed=seed)

    def collect(run: str, network: int, stride: int = 28, shared: bool = True) -> np.ndarray:
        bank = collect_features(
            clips,
            InputSpec(kind="appearance", stride=stride),
            open_network(tmp_path / f"{network}.onnx"),
            network=tmp_path / f"{network}.onnx",
            frame=FrameSpec(width=168, height=112),
            gate=GateSpec(),
            frames=100,
            mirrored=False,
            folder=tmp_path / run,
            progress=SilentTraining(),
            cache=tmp_path / "cache" if shared else None,
        )
        return np.concatenate([one.features for one in bank])

    first = collect("a", 1)
    assert look.calls == 2
    np.testing.assert_array_equal(collect("b", 1), first)
    assert look.calls == 2
    assert not np.array_equal(collect("b", 2), first)
    collect("b", 1, stride=14)
    collect("b", 1, shared=False)
    assert look.calls == 8
    assert (tmp_path / "b" / "recipe.json").is_file()
    assert not (tmp_path / "a").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 3
