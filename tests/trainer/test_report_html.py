"""The report is one file: it parses, asks for nothing, and takes hostile names as text."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from support.graded import PaintedPipeline, open_known_dataset, painted_bundle

from engines.model_spec import TrustRecord
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_html import html_from_evaluation
from trainer.evaluation.report_pictures import frame_picture
from trainer.evaluation.result import Evaluation, Level

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script> & \"quoted\" {{ 7*7 }} $a_b$ </title><img src=x onerror=y>"


class Page(HTMLParser):
    """Checks that elements nest; collects elements, attributes and ids."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("report")
    bundle = painted_bundle(folder / "bundle", folder)
    dataset = open_known_dataset(folder / "yard")
    return evaluate_bundle(
        bundle, dataset, baseline=False, open_pipeline=lambda _: PaintedPipeline()
    )


@pytest.fixture(scope="module")
def html(evaluation: Evaluation) -> str:
    return html_from_evaluation(evaluation)


def test_the_page_parses_and_shows_everything(html: str) -> None:
    page = Page(html)
    # 2 ROC drawings, 3 timelines, 3 swatches in the table; 2 maps of footage with a key of 5.
    assert page.elements["svg"] == 2 + 3 + 3 + 2 + 5
    # 3 highest, 3 lowest, 3 highest normal, 1 or 2 lowest anomalous; frame and heat map of each.
    assert page.elements["img"] >= 2 * 10
    assert page.elements["script"] == 0
    text = " ".join(page.text)
    for word in ("83.6", "11.8", "Poisson", "yard", "tiny", "seed 0", "painted/fp32", "sha256"):
        assert word in text
    for clip in ("a", "b", "c"):
        assert f"Score over time of clip {clip}" in page.values("aria-label")


def test_the_page_asks_for_nothing_outside(html: str) -> None:
    plain = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|xmlns", plain)
    page = Page(html)
    for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
        assert all(
            value.startswith(("data:image/jpeg;base64,", "#")) for value in page.values(name)
        )
    policies = [value for value in page.values("content") if "default-src" in value]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_references_are_met(html: str) -> None:
    page = Page(html)
    ids = Counter(page.values("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    references = set(re.findall(r"url\(#([^)]*)\)", html))
    references |= {value[1:] for value in page.values("href")}
    assert references <= set(ids)


def test_colours_come_from_the_page_in_light_and_dark(html: str) -> None:
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    light, dark = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    for variable in used:
        assert f"{variable}:" in light
        assert f"{variable}:" in dark
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)


def test_text_is_readable_in_light_and_dark(html: str) -> None:
    for scheme in re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL):
        colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", scheme))
        paper = colours.pop("--paper")
        for name in ("--ink", "--muted", "--series-1", "--alarm"):
            assert contrast(colours[name], paper) >= 4.5, name  # WCAG 2, level AA, text
        for name in colours.keys() - {"--raised", "--rule"}:
            assert contrast(colours[name], paper) >= 3.0, name  # the same, graphics


def contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_hostile_names_are_text(evaluation: Evaluation) -> None:
    provenance = dataclasses.replace(
        evaluation.provenance, bundle=HOSTILE, dataset=HOSTILE, notes=(HOSTILE,), command=HOSTILE
    )
    timelines = tuple(dataclasses.replace(clip, name=HOSTILE) for clip in evaluation.timelines)
    pictures = dataclasses.replace(
        evaluation.pictures,
        highest=tuple(dataclasses.replace(m, clip=HOSTILE) for m in evaluation.pictures.highest),
    )
    hostile = dataclasses.replace(
        evaluation,
        provenance=provenance,
        timelines=timelines,
        pictures=pictures,
        streams={HOSTILE: evaluation.detector},
    )
    page = Page(html_from_evaluation(hostile))
    assert page.elements["script"] == 0
    assert not page.values("onerror")
    assert any(HOSTILE in text for text in page.text)
    assert f"Score over time of clip {HOSTILE}" in page.values("aria-label")


def test_pictures_are_jpeg_of_the_working_size_with_the_hot_cell_coloured(
    evaluation: Evaluation, html: str
) -> None:
    addresses = Page(html).values("src")
    frame, heat = (
        cv2.imdecode(np.frombuffer(base64.b64decode(a.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for a in addresses[:2]
    )
    assert frame.shape == heat.shape == (112, 168, 3)
    # Highest is clip a, frame 8: cell (1, 2) of 4 x 6 at full colour, the others nearly grey.
    inside, outside = heat[42, 70].astype(int), heat[100, 20].astype(int)
    assert np.ptp(inside) > 60
    assert np.ptp(outside) < np.ptp(inside)
    # The border of the ground truth is cyan on the plain frame.
    assert (frame[28:56, 54:86].astype(int) @ (1, 1, -2)).max() > 150


def test_the_cell_of_the_peak_is_outlined_and_put_into_words(
    evaluation: Evaluation, html: str
) -> None:
    moment = evaluation.pictures.highest[0]
    assert moment.explanation is not None
    assert moment.explanation.why in " ".join(Page(html).text)
    # Cell (1, 2) of 4 x 6 in 168 x 112 pixels: yellow four pixels outside it, and not within.
    frame = Page(html).values("src")[0]
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(frame.split(",")[1]), np.uint8), cv2.IMREAD_COLOR
    ).astype(int)
    edge, inside = picture[24, 70], picture[42, 70]
    assert edge[2] - edge[0] > 100
    assert abs(inside[2] - inside[0]) < 60
    plain = dataclasses.replace(moment, explanation=None)
    assert frame_picture(plain) != frame_picture(moment)


def test_alarms_trust_and_footage_stand_in_the_page(evaluation: Evaluation, html: str) -> None:
    text = " ".join(" ".join(Page(html).text).split())
    assert "What drove each alarm" in text
    assert "false alarm" in text
    assert "most of it by stream appearance" in text
    assert "The weights are the preset's" in text
    record = TrustRecord(
        reason="learned on 9 clips",
        clips=9,
        frames=540,
        streams={"appearance": {"rider": 0.91, HOSTILE: 0.5}, "motion": {"rider": 0.75}},
        fused={"rider": 0.933},
        left_out={"frozen": HOSTILE},
    )
    page = Page(html_from_evaluation(dataclasses.replace(evaluation, trust=record)))
    trusted = " ".join(" ".join(page.text).split())
    assert page.elements["script"] == 0
    for words in (
        "Learned on 9 clips.",
        "a cyclist or skater",
        "91.0",
        "93.3",
        "9 synthetic clips",
    ):
        assert words in trusted
    assert "somebody stands like a statue" in trusted


def test_undefined_figures_are_dashes_and_say_why(evaluation: Evaluation) -> None:
    blank = dataclasses.replace(evaluation.detector, frame=Level(), pixel=Level(), macro_auc=None)
    empty = dataclasses.replace(
        evaluation,
        detector=blank,
        streams={},
        regions=None,
        events=None,
        at_threshold=None,
        alarm=None,
    )
    text = " ".join(Page(html_from_evaluation(empty)).text)
    assert "\N{EN DASH}" in text
    assert "No pixel figures" in text
    assert "No frame figures" in text
    assert "vigil calibrate" in text
    truthless = dataclasses.replace(empty, alarm=evaluation.alarm)
    assert "no events to count" in " ".join(Page(html_from_evaluation(truthless)).text)


def test_the_same_evaluation_gives_the_same_page(evaluation: Evaluation, html: str) -> None:
    assert html_from_evaluation(evaluation) == html
