"""`vigil survey`: places, pooled figures with known answers, resume, failures, and the forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.bundles import tiny_bundle
from support.scores import alarm

from engines.bundle import Bundle, load_bundle
from engines.errors import CannotCreateError, ConfigError, DataError, InternalError, UsageError
from engines.model_spec import TrustRecord
from trainer.cli.survey import survey as command
from trainer.datasets.clip import Clip
from trainer.datasets.layouts import open_dataset
from trainer.distributed import single
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.protocol import FUSED, ClipScores, Track
from trainer.evaluation.score_clips import score_clips
from trainer.preset import Preset, load_preset
from trainer.scenes import KINDS
from trainer.survey import run_places
from trainer.survey.figures import Aucs, PlaceFigures, aucs, mean_aucs, place_figures
from trainer.survey.places import Place, grid_places, load_places, place_list_names
from trainer.survey.render import html_from_survey, json_from_survey, markdown_from_survey
from trainer.survey.run_places import (
    PlaceFailure,
    Survey,
    SurveyRequest,
    recipe_digest,
    run_survey,
)

EVIL = "<img src=x onerror=alert(1)>|*&"

# Nothing here has to be trained: what is left is what a survey does.
RECIPE = {
    "name": "speedy",
    "frame": {"width": 210, "height": 140},
    "streams": [
        {"name": name, "kind": "speed", "encoder": "none", "statistics": pooling, "weight": weight}
        for name, pooling, weight in (("speed", "neighbourhood", 0.6), ("pace", "picture", 0.4))
    ],
}
SMALL = {"size": "210x140", "fps": 6.0}
GOOD = Place(**SMALL, normal_seconds=60.0, kinds=("cyclist", "thrown"))
TOO_SHORT = Place(**SMALL, normal_seconds=1.0, kinds=("cyclist", "thrown"))


def clip_scores(name: str, labels: list[int], **tracks: list[float]) -> ClipScores:
    """A clip at 2 frames per second; `fused` is the fusion, all others are streams."""
    count = len(labels)
    made = {key: Track(np.array(values, np.float64), None) for key, values in tracks.items()}
    return ClipScores(
        clip=Clip(name=name, path=Path(name), fps=2.0, scene="made"),
        index=np.arange(count),
        times=np.arange(count) / 2.0,
        tracks={FUSED if key == "fused" else key: track for key, track in made.items()},
        baseline=None,
        labels=np.array(labels, np.bool_),
        masked=None,
        frames=count,
        skipped=0,
        read_s=0.5,
        score_s=1.5,
    )


# The second clip's scores lie higher as a whole. Alone each clip is perfect; against the normal
# frames of both (0, 1 and 5, 6), the anomalous 2 and 3 of the first outscore two of four.
FIRST = clip_scores("a", [0, 0, 1, 1], fused=[0, 1, 2, 3], left=[0, 0, 9, 9], right=[1, 1, 1, 1])
SECOND = clip_scores("b", [0, 0, 1, 1], fused=[5, 6, 7, 8], left=[0, 0, 9, 9], right=[2, 2, 2, 2])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its streams have other names than the made tracks."""
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder)


def made_clip(name: str, fused: list[float]) -> ClipScores:
    flat = [1.0] * len(fused)
    better = [0.0, 0.0, 9.0, 9.0]
    return clip_scores(name, [0, 0, 1, 1], fused=fused, appearance=better, motion=flat)


def made_figures(bundle: Bundle, **place: object) -> PlaceFigures:
    where = Place(kinds=("cyclist", "dog"), **place)
    clips = [made_clip("one", [0, 1, 2, 3]), made_clip("two", [5, 6, 7, 8])]
    return place_figures(where, bundle, clips, recipe="0" * 64)


# --- figures


def test_pooled_auc_sees_levels_that_the_own_clip_hides() -> None:
    names = ["left", "right"]
    within = aucs([FIRST], [FIRST], names)
    assert (within.fused, within.streams) == (1.0, {"left": 1.0, "right": 0.5})
    pooled = aucs([FIRST], [FIRST, SECOND], names)
    assert pooled.fused == 0.5
    assert pooled.streams == {"left": 1.0, "right": 0.25}
    assert pooled.best == ("left", 1.0)
    assert pooled.margin == -0.5
    assert aucs([SECOND], [FIRST, SECOND], names).fused == 1.0


def test_mean_weighs_kinds_alike_and_leaves_out_what_is_not_defined() -> None:
    parts = [
        Aucs(fused=0.5, streams={"left": None}),
        Aucs(fused=1.0, streams={"left": 0.8}),
        Aucs(fused=None, streams={"left": None}),
    ]
    assert mean_aucs(parts) == Aucs(fused=0.75, streams={"left": 0.8})
    assert mean_aucs(parts[2:]).margin is None


def test_a_clip_without_anomalous_frames_has_no_auc() -> None:
    quiet = clip_scores("q", [0, 0], fused=[0, 1])
    assert aucs([quiet], [quiet], []).fused is None
    with pytest.raises(DataError, match="no labels"):
        aucs([replace(quiet, labels=None)], [quiet], [])


def test_figures_of_a_place_with_a_threshold(bundle: Bundle) -> None:
    trust = TrustRecord(reason="looked", clips=1, frames=9, streams={}, fused={})
    learned = replace(
        bundle,
        model=bundle.model.model_copy(update={"trust": trust}),
        alarm=alarm(threshold=1.5, open_frames=1, close_s=0.4, merge_s=0.0),
    )
    clips = [made_clip("one", [0, 1, 2, 3]), made_clip("two", [5, 1, 1, 0])]
    place = Place(kinds=("cyclist", "dog"))
    figures = place_figures(place, learned, clips, recipe="0" * 64)
    cyclist, dog = figures.kinds
    assert (cyclist.found, cyclist.events, cyclist.delay_s, cyclist.false_alarms) == (1, 1, 0, 0)
    assert (dog.found, dog.events, dog.delay_s, dog.false_alarms) == (0, 1, None, 1)
    assert (cyclist.frames, cyclist.anomalous, cyclist.normal_s) == (4, 2, 1.0)
    assert figures.events is not None
    assert figures.events.false_per_hour == 1800.0
    assert figures.reason == "looked"
    assert figures.weights == {"appearance": 0.5, "motion": 0.5}
    assert figures.scored_fps == 2.0
    assert figures.behind  # appearance alone is perfect
    with pytest.raises(DataError, match="1 test clips"):
        place_figures(place, learned, clips[:1], recipe="0" * 64)


def test_overall_is_the_mean_weighted_by_anomalous_frames(bundle: Bundle) -> None:
    figures = made_figures(bundle)
    assert [kind.pooled.fused for kind in figures.kinds] == [0.5, 1.0]
    assert figures.mean.fused == figures.overall.fused == 0.75
    assert figures.reason.startswith("the preset's weights")


# --- places


def test_every_shipped_list_of_places_can_be_read() -> None:
    assert "standard" in place_list_names()
    for name in place_list_names():
        assert load_places(name)


def test_standard_places_differ_in_all_that_matters() -> None:
    places = load_places("standard")
    assert {kind for place in places for kind in place.kinds} == set(KINDS)
    assert {place.view for place in places} == {"plain", "perspective"}
    assert len({place.condition for place in places} - {"clean"}) >= 5
    assert {10.0, 25.0, 30.0} <= {place.fps for place in places}
    assert any(place.condition == "grey" for place in places)
    assert min(place.normal_seconds for place in places) <= 15.0
    assert len({place.size for place in places}) >= 3
    only = load_places("standard", kinds=["dog"], seed=4)
    assert {(place.kinds, place.seed) for place in only} == {(("dog",), 4)}


def test_the_grid_is_conditions_by_views() -> None:
    places = grid_places(
        ["clean", "rain"],
        ["plain", "perspective"],
        size="64x80",
        fps=5.0,
        normal_seconds=9.0,
        kinds=["dog"],
        seed=2,
    )
    assert [place.title for place in places] == [
        f"{condition} {view} 64x80 5 fps 9 s normal seed 2"
        for condition in ("clean", "rain")
        for view in ("plain", "perspective")
    ]
    scene = places[3].scene()
    assert (scene.width, scene.height, scene.fps, scene.perspective) == (64, 80, 5.0, True)
    assert (scene.anomalies, scene.conditions.rain) == (("dog",), 14.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("places: [{condition: fog}]", "no condition 'fog'"),
        ("places: [{kinds: [dog, ufo]}]", "no kind 'ufo'"),
        ("places: [{kinds: [dog, dog]}]", "named once"),
        ("places: [{size: big}]", "size"),
        ("places: [{size: 9x9}]", "width is 9"),
        ("places: [{colour: red}]", "colour"),
        ("places: [{view: plain}, {}]", "twice"),
        ("places: []", "places"),
        ("[1", "not YAML"),
        ("5", "top level"),
    ],
)
def test_a_wrong_list_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_places(str(path))


def test_an_unknown_list_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="nowhere") as caught:
        load_places("nowhere")
    assert "standard" in str(caught.value)


# --- the command, once for real: a place that works and one that cannot


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("survey")
    (root / "speedy.yaml").write_text(yaml.safe_dump(RECIPE))
    places = [p.model_dump(mode="json", exclude={"kinds"}) for p in (GOOD, TOO_SHORT)]
    (root / "places.yaml").write_text(yaml.safe_dump({"places": places}))
    return root


@pytest.fixture(scope="module")
def finished(folder: Path) -> tuple[Path, Result]:
    # What a kill in the middle of rendering leaves.
    half = place_folder(folder, GOOD) / "scene" / "normal"
    half.mkdir(parents=True)
    (half / "half.avi").write_bytes(b"torn")
    result = call(
        "--preset", folder / "speedy.yaml", "--places", folder / "places.yaml",
        "--kinds", "cyclist,thrown", "--out", folder / "out", "--threads", 1, "--keep",
        "--json", folder / "s.json", "--html", folder / "s.html", "--markdown", folder / "s.md",
    )  # fmt: skip
    return folder, result


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def speedy(folder: Path) -> Preset:
    return load_preset(str(folder / "speedy.yaml"))


def place_folder(folder: Path, place: Place) -> Path:
    digest = recipe_digest(speedy(folder), place)
    return folder / "out" / "places" / f"{place.slug}-{digest[:10]}"


def request(folder: Path, *places: Place, **changes: object) -> SurveyRequest:
    return SurveyRequest(
        preset=speedy(folder),
        places=places,
        out=folder / "out",
        ranks=single("cpu"),
        threads=1,
        command="test",
        **changes,
    )


def test_one_place_is_measured_and_the_other_says_why_not(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert result.exit_code == 0
    values = json.loads((folder / "s.json").read_text())
    good, bad = values["places"]
    assert good["error"] is None
    assert [kind["kind"] for kind in good["kinds"]] == ["cyclist", "thrown"]
    cyclist = good["kinds"][0]
    assert cyclist["pooled"]["fused"] > 0.9  # nothing here is as fast
    assert set(cyclist["pooled"]["streams"]) == {"speed", "pace"}
    assert cyclist["found"] == cyclist["events"] == 1
    best = max(cyclist["pooled"]["streams"].values())
    assert cyclist["margin"] == pytest.approx(cyclist["pooled"]["fused"] - best)
    assert good["weights"] == {"speed": 0.6, "pace": 0.4}
    assert good["events"] == 2
    assert bad["error"]["what"]
    assert "kinds" not in {key for key in bad if key != "place"}
    assert "1 of them failed" in result.stdout
    assert bad["error"]["what"] in result.stdout
    assert "Fused AUC by kind and place" in result.stdout
    assert "[2/2] clean plain" in result.stderr
    for name in ("s.html", "s.md"):
        text = (folder / name).read_text()
        assert "cyclist" in text
        assert "1 s normal" in text


def test_the_figures_are_those_of_vigil_evaluate(finished: tuple[Path, Result]) -> None:
    folder, _ = finished
    root = place_folder(folder, GOOD)
    figures = PlaceFigures.model_validate_json((root / "figures.json").read_bytes())
    bundle, dataset = load_bundle(root / "run" / "bundle"), open_dataset(root / "scene")
    whole = evaluate_bundle(bundle, dataset, threads=1, baseline=False, pictures=0)
    assert figures.bundle == bundle.digest
    assert figures.overall.fused == pytest.approx(whole.detector.frame.auc, abs=1e-12)
    for name, stream in whole.streams.items():
        assert figures.overall.streams[name] == pytest.approx(stream.frame.auc, abs=1e-12)
    assert [kind.within.fused for kind in figures.kinds] == [t.auc for t in whole.timelines]
    assert whole.events is not None
    assert figures.events is not None
    assert figures.events.found == whole.events.found
    assert figures.events.false_alarms == whole.events.false_alarms
    assert figures.events.normal_s / 3600 == pytest.approx(whole.events.normal_hours)


def test_scores_come_without_pixels(finished: tuple[Path, Result]) -> None:
    root = place_folder(finished[0], GOOD)
    dataset = open_dataset(root / "scene")
    one = replace(dataset, test=dataset.test[:1])
    (clip,) = score_clips(load_bundle(root / "run" / "bundle"), one, threads=1)
    assert set(clip.tracks) == {FUSED, "speed", "pace"}
    assert clip.tracks[FUSED].pixel is None
    assert clip.labels is not None
    assert clip.labels.any()


def test_what_is_measured_is_not_measured_again(
    finished: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(run_places, "render_scene", never)
    monkeypatch.setattr(run_places, "run_training", never)
    (known,) = run_survey(request(folder, GOOD)).measured
    assert known.place == GOOD
    # Another recipe and other settings are another place.
    other = speedy(folder).model_copy(update={"seed": 9})
    assert recipe_digest(other, GOOD) != known.recipe
    for changes in ({"seed": 1}, {"kinds": ("cyclist",)}, {"view": "perspective"}):
        changed = GOOD.model_copy(update=changes)
        assert recipe_digest(speedy(folder), changed) != known.recipe


def test_without_keep_the_clips_go_and_a_finished_training_is_taken(
    finished: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between training and scoring."""
    folder, _ = finished
    root = place_folder(folder, GOOD)
    before = (root / "figures.json").read_text()
    (root / "figures.json").unlink()
    monkeypatch.setattr(run_places, "render_scene", None)  # the clips are there
    (figures,) = run_survey(request(folder, GOOD)).measured
    assert figures.model_dump(exclude={"scored_fps"}) == PlaceFigures.model_validate_json(
        before
    ).model_dump(exclude={"scored_fps"})
    assert sorted(path.name for path in root.iterdir()) == ["figures.json", "run"]


def test_torn_figures_are_an_error_of_their_place(
    finished: tuple[Path, Result], tmp_path: Path
) -> None:
    asked = replace(request(finished[0], GOOD), out=tmp_path)
    path = tmp_path / "places" / place_folder(finished[0], GOOD).name / "figures.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (failure,) = run_survey(asked).failed
    assert failure.where == str(path)


def test_where_no_place_works_the_command_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise CannotCreateError("the disk is full", where="there")

    monkeypatch.setattr(run_places, "render_scene", full)
    arguments = ("--preset", folder / "speedy.yaml", "--out", tmp_path / "o", "--views", "plain")
    json_file = tmp_path / "s.json"
    with pytest.raises(InternalError, match="the disk is full"):
        call(*arguments, "--json", json_file, "--html", tmp_path / "s.html")
    (place,) = json.loads(json_file.read_text())["places"]
    assert place["error"]["what"] == "the disk is full"
    assert "the disk is full" in (tmp_path / "s.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--places", "standard", "--size", "64x64"), "--places says where"),
        (("--conditions", "clean,fog"), "no 'fog'"),
        (("--kinds", ","), "names nothing"),
    ],
)
def test_wrong_use(folder: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call("--preset", folder / "speedy.yaml", "--out", tmp_path, *arguments)


# --- forms


def evil_survey(bundle: Bundle) -> Survey:
    named = made_figures(bundle).model_copy(update={"reason": EVIL})
    return Survey(EVIL, (named, PlaceFailure(Place(condition="rain"), EVIL, EVIL, None)))


def test_the_page_escapes_and_asks_for_nothing(bundle: Bundle) -> None:
    page = html_from_survey(evil_survey(bundle))
    assert "<img" not in page
    assert page.count("&lt;img src=x") >= 4
    assert "default-src 'none'" in page
    for outside in ("http:", "https:", 'src="', "url(", "@import", "<script"):
        assert outside not in page.replace("src=x", "")


def test_markdown_keeps_its_columns(bundle: Bundle) -> None:
    text = markdown_from_survey(evil_survey(bundle))
    assert "<img" not in text.replace("\\<", "")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    counts = {line.replace("\\|", "").count("|") for line in tables}
    # Places, and one place with its two streams; kinds by places.
    assert counts == {10, len(KINDS) + 3}


def test_a_fusion_that_is_behind_is_marked_everywhere(bundle: Bundle) -> None:
    survey = Survey("p", (made_figures(bundle),))
    assert "75.0 !" in markdown_from_survey(survey)
    assert "-25.0 !" in html_from_survey(survey)
    values = json.loads(json_from_survey(survey))
    assert values["places"][0]["behind"] is True
    assert "at 1 of 1: clean plain" in values["summary"][3]
