"""Each layout in a small synthetic copy: clips, ground truth, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from engines.errors import DataError, InputMissingError, UsageError
from trainer.datasets import Clip, layout_names, open_dataset, open_normal
from trainer.datasets.shanghaitech import runs_from_flags
from trainer.datasets.ucsd import parse_frame_list

HEIGHT, WIDTH = 24, 32


def write_frames(folder: Path, count: int, suffix: str = ".tif", start: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = np.full((HEIGHT, WIDTH), 10 + index, np.uint8)
        cv2.imwrite(str(folder / f"{start + index:03d}{suffix}"), picture)
    return folder


def write_video(path: Path, count: int, fps: float = 25.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((HEIGHT, WIDTH, 3), 10 + index, np.uint8))
    writer.release()
    return path


def mask(anomalous: bool, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    picture = np.zeros(shape, np.uint8)
    if anomalous:
        picture[2:5, 3:9] = 255
    return picture


def write_masks(folder: Path, flags: str, suffix: str = ".bmp") -> Path:
    """One mask for each character of `flags`, anomalous where it is "x"."""
    folder.mkdir(parents=True)
    for index, flag in enumerate(flags, 1):
        cv2.imwrite(str(folder / f"{index:03d}{suffix}"), mask(flag == "x"))
    return folder


def flags_of(labels: NDArray[np.bool_] | None) -> str | None:
    return None if labels is None else "".join("x" if label else "." for label in labels)


def names(clips: tuple[Clip, ...]) -> list[str]:
    return [clip.name for clip in clips]


@pytest.fixture
def ucsd(tmp_path: Path) -> Path:
    """Two training clips, three test clips; masks for the first two, as Ped1 has for some."""
    root = tmp_path / "UCSDped1"
    write_frames(root / "Train" / "Train001", 4)
    write_frames(root / "Train" / "Train002", 5)
    for number, flags in ((1, "..xx."), (2, "xxxx"), (3, None)):
        write_frames(root / "Test" / f"Test00{number}", len(flags or "......"))
        if flags:
            write_masks(root / "Test" / f"Test00{number}_gt", flags)
    return root


def write_frame_list(root: Path, *runs: str) -> None:
    lines = "".join(f"TestVideoFile{{end+1}}.gt_frame = [{run}];\n" for run in runs)
    (root / "Test" / "UCSDped1.m").write_text(f"TestVideoFile = {{}};\n% [1:9];\n{lines}")


class TestUcsd:
    def test_labels_from_masks(self, ucsd: Path) -> None:
        dataset = open_dataset(ucsd)
        assert (dataset.layout, dataset.name) == ("ucsd", "UCSD Ped1")
        assert names(dataset.train) == ["Train001", "Train002"]
        assert names(dataset.test) == ["Test001", "Test002", "Test003"]
        assert [clip.has_masks for clip in dataset.test] == [True, True, False]
        assert [flags_of(clip.frame_labels(clip.frame_count or 0)) for clip in dataset.test] == [
            "..xx.",
            "xxxx",
            None,
        ]
        assert {clip.fps for clip in dataset.train + dataset.test} == {10.0}
        assert dataset.label_source.startswith("masks")
        assert "1 of 3 test clips have no frame labels" in dataset.notes
        assert "1 of 3 test clips have no masks" in dataset.notes

    def test_frame_list_comes_first(self, ucsd: Path) -> None:
        write_frame_list(ucsd, "3:4", "1:4", "2:3, 5:6")
        dataset = open_dataset(ucsd)
        assert dataset.label_source == "frame list UCSDped1.m"
        assert [clip.labels for clip in dataset.test] == [
            ((2, 4),),
            ((0, 4),),
            ((1, 3), (4, 6)),
        ]
        assert flags_of(dataset.test[2].frame_labels(6)) == ".xx.xx"
        assert not any("frame labels" in note for note in dataset.notes)

    def test_frame_list_of_another_length(self, ucsd: Path) -> None:
        write_frame_list(ucsd, "3:4", "1:4")
        with pytest.raises(DataError, match="names 2 clips, there are 3"):
            open_dataset(ucsd)

    @pytest.mark.parametrize("run", ["4:3", "0:3", "a:b", "3-4"])
    def test_frame_list_with_an_impossible_run(self, ucsd: Path, run: str) -> None:
        write_frame_list(ucsd, run, "1:4", "1:2")
        with pytest.raises(DataError, match="is no run of frames"):
            open_dataset(ucsd)

    def test_frame_list_beyond_the_clip(self, ucsd: Path) -> None:
        write_frame_list(ucsd, "3:4", "1:5", "1:2")
        with pytest.raises(DataError, match="reaches to frame 5, the clip has 4"):
            open_dataset(ucsd)

    def test_parse_frame_list_of_the_official_form(self) -> None:
        text = (
            "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [60:152];\n"
            "TestVideoFile{end+1}.gt_frame = [5:90,  140:200];\n"
            "TestVideoFile{end+1}.gt_frame=[1 : 100 ; 110:200];TestVideoFile{end+1}.gt_frame=[7];"
        )
        assert parse_frame_list(text) == [
            ((59, 152),),
            ((4, 90), (139, 200)),
            ((0, 100), (109, 200)),
            ((6, 7),),
        ]

    def test_hidden_files_are_ignored(self, ucsd: Path) -> None:
        for folder in (ucsd, ucsd / "Train", ucsd / "Train" / "Train001", ucsd / "Test"):
            (folder / ".DS_Store").write_bytes(b"x")
            (folder / "._001.tif").write_bytes(b"x")
        (ucsd / "Test" / "._UCSDped1.m").write_bytes(b"x")
        (ucsd / "Train" / "._Train001").mkdir()
        dataset = open_dataset(ucsd)
        assert names(dataset.train) == ["Train001", "Train002"]
        assert dataset.train[0].frame_count == 4

    def test_masks_of_another_count_name_both(self, ucsd: Path) -> None:
        (ucsd / "Test" / "Test001_gt" / "005.bmp").unlink()
        with pytest.raises(DataError, match="5 frames and 4 labels or masks") as caught:
            open_dataset(ucsd)
        assert "Test001;" in str(caught.value.where)
        assert "Test001_gt" in str(caught.value.where)

    def test_masks_of_another_size_name_both(self, ucsd: Path) -> None:
        cv2.imwrite(str(ucsd / "Test" / "Test001_gt" / "003.bmp"), mask(True, (20, 30)))
        masks = open_dataset(ucsd).test[0].masks()
        assert masks is not None
        with pytest.raises(DataError, match="Mask 2 is 30x20, the frames are 32x24") as caught:
            list(masks)
        assert "Test001_gt" in str(caught.value.where)

    def test_unreadable_mask_is_no_guess(self, ucsd: Path) -> None:
        (ucsd / "Test" / "Test001_gt" / "003.bmp").write_bytes(b"x")
        with pytest.raises(DataError, match="mask cannot be read"):
            open_dataset(ucsd).test[0].frame_labels(5)

    def test_masks_are_bool_of_the_native_size(self, ucsd: Path) -> None:
        masks = list(open_dataset(ucsd).test[0].masks() or ())
        assert [m.dtype for m in masks if m is not None] == [np.bool_] * 5
        assert [int(m.sum()) for m in masks if m is not None] == [0, 0, 18, 18, 0]
        assert np.array_equal(masks[2], mask(True) > 0)

    def test_damaged_frame_of_ped1_is_repeated_and_noted(self, tmp_path: Path) -> None:
        root = tmp_path / "UCSDped1"
        clip = write_frames(root / "Test" / "Test017", 4, start=140)
        (clip / "142.tif").write_bytes((clip / "142.tif").read_bytes()[:100])
        dataset = open_dataset(root)
        assert "frame Test017/142.tif is damaged: the frame before it is repeated" in dataset.notes
        with dataset.test[0].open() as source:
            frames = list(source)
            assert source.skipped == 1
        assert [frame.index for frame in frames] == [0, 1, 2, 3]
        assert [int(frame.bgr[0, 0, 0]) for frame in frames] == [10, 11, 11, 13]

    def test_clip_with_one_frame_is_left_out_with_a_note(self, ucsd: Path) -> None:
        write_frames(ucsd / "Train" / "Train003", 1)
        write_frames(ucsd / "Test" / "Test004", 1)
        write_frame_list(ucsd, "3:4", "1:4", "1:2", "1:1")
        dataset = open_dataset(ucsd)
        assert len(dataset.train) == 2
        assert len(dataset.test) == 3
        assert "clip Train003 left out: it has one frame, so no motion" in dataset.notes
        assert "clip Test004 left out: it has one frame, so no motion" in dataset.notes

    def test_empty_clip_folder(self, ucsd: Path) -> None:
        (ucsd / "Train" / "Train003").mkdir()
        with pytest.raises(InputMissingError, match="holds no pictures") as caught:
            open_dataset(ucsd)
        assert str(caught.value.where).endswith("Train003")


class TestAvenue:
    @pytest.fixture
    def avenue(self, tmp_path: Path) -> Path:
        root = tmp_path / "avenue"
        write_video(root / "training_videos" / "01.avi", 6)
        for number, flags in ((1, "..xxx..."), (10, "xx......")):
            write_video(root / "testing_videos" / f"{number:02d}.avi", 8)
            self.write_mat(root, number, [mask(flag == "x") // 255 for flag in flags])
        return root

    @staticmethod
    def write_mat(root: Path, number: int, masks: list[NDArray[np.uint8]]) -> Path:
        cells = np.empty((1, len(masks)), object)
        cells[0, :] = masks
        folder = root / "ground_truth_demo" / "testing_label_mask"
        folder.mkdir(parents=True, exist_ok=True)
        savemat(folder / f"{number}_label.mat", {"volLabel": cells})
        return folder / f"{number}_label.mat"

    def test_clips_and_labels(self, avenue: Path) -> None:
        dataset = open_dataset(avenue)
        assert dataset.layout == "avenue"
        assert names(dataset.train) == ["01"]
        assert names(dataset.test) == ["01", "10"]
        assert {clip.fps for clip in dataset.test} == {25.0}
        assert [flags_of(clip.frame_labels(8)) for clip in dataset.test] == [
            "..xxx...",
            "xx......",
        ]
        assert len(list(dataset.test[0].masks() or ())) == 8
        with dataset.test[1].open() as source:
            assert len(list(source)) == 8

    def test_few_frames_more_or_less_compare_on_the_common_part(self, avenue: Path) -> None:
        clip = open_dataset(avenue).test[0]
        assert flags_of(clip.frame_labels(6)) == "..xxx."
        assert flags_of(clip.frame_labels(9)) == "..xxx..."
        with pytest.raises(DataError, match="19 frames and 8 labels") as caught:
            clip.frame_labels(19)
        assert "1_label.mat" in str(caught.value.where)

    def test_missing_ground_truth_is_noted(self, avenue: Path) -> None:
        (avenue / "ground_truth_demo" / "testing_label_mask" / "10_label.mat").unlink()
        dataset = open_dataset(avenue)
        assert dataset.notes == ("1 of 2 test clips have no ground truth",)
        assert dataset.test[1].frame_labels(8) is None
        assert dataset.test[1].masks() is None

    def test_ground_truth_beside_the_videos_folder(self, avenue: Path) -> None:
        (avenue / "Avenue Dataset").mkdir()
        for part in ("training_videos", "testing_videos"):
            (avenue / part).rename(avenue / "Avenue Dataset" / part)
        assert all(clip.has_masks for clip in open_dataset(avenue).test)

    def test_masks_of_another_size(self, avenue: Path) -> None:
        self.write_mat(avenue, 1, [mask(True, (10, 12))] * 8)
        with pytest.raises(DataError, match="Mask 0 is 12x10, the frames are 32x24"):
            list(open_dataset(avenue).test[0].masks() or ())

    def test_file_that_is_no_mat(self, avenue: Path) -> None:
        path = avenue / "ground_truth_demo" / "testing_label_mask" / "1_label.mat"
        whole = path.read_bytes()
        cut = [whole[:length] for length in (1, 19, 100, 127, 130, 200, len(whole) - 1)]
        for content in (b"", b"not a mat file at all" * 20, *cut):
            path.write_bytes(content)
            with pytest.raises(DataError) as caught:
                open_dataset(avenue).test[0].frame_labels(8)
            assert str(path) in str(caught.value)

    def test_mat_without_the_variable(self, avenue: Path) -> None:
        path = avenue / "ground_truth_demo" / "testing_label_mask" / "1_label.mat"
        savemat(path, {"other": np.zeros(3)})
        with pytest.raises(DataError, match="no variable volLabel"):
            open_dataset(avenue).test[0].frame_labels(8)

    def test_broken_video_is_named(self, avenue: Path) -> None:
        (avenue / "training_videos" / "02.avi").write_bytes(b"broken")
        with pytest.raises(DataError, match="cannot be opened as a video") as caught:
            open_dataset(avenue)
        assert str(caught.value.where).endswith("02.avi")

    def test_video_with_one_frame_is_left_out(self, avenue: Path) -> None:
        write_video(avenue / "training_videos" / "02.avi", 1)
        dataset = open_dataset(avenue)
        assert names(dataset.train) == ["01"]
        assert dataset.notes == ("clip 02 left out: it has one frame, so no motion",)


class TestShanghaiTech:
    @pytest.fixture
    def shanghaitech(self, tmp_path: Path) -> Path:
        root = tmp_path / "shanghaitech"
        write_video(root / "training" / "videos" / "01_001.avi", 5, fps=24)
        write_video(root / "training" / "videos" / "13_007.avi", 5, fps=24)
        write_frames(root / "testing" / "frames" / "01_0014", 6, ".jpg", start=0)
        write_frames(root / "testing" / "frames" / "02_0001", 4, ".jpg", start=0)
        for part in ("test_frame_mask", "test_pixel_mask"):
            (root / "testing" / part).mkdir()
        flags = np.array([0, 1, 1, 0, 0, 1], np.uint8)
        np.save(root / "testing/test_frame_mask/01_0014.npy", flags)
        np.save(
            root / "testing/test_pixel_mask/01_0014.npy",
            np.stack([mask(bool(flag)) for flag in flags]),
        )
        np.save(root / "testing/test_frame_mask/02_0001.npy", np.zeros(4, np.uint8))
        return root

    def test_clips_scenes_and_labels(self, shanghaitech: Path) -> None:
        dataset = open_dataset(shanghaitech)
        assert dataset.layout == "shanghaitech"
        assert [(clip.name, clip.scene) for clip in dataset.train] == [
            ("01_001", "01"),
            ("13_007", "13"),
        ]
        first, second = dataset.test
        assert (first.scene, second.scene) == ("01", "02")
        assert (first.fps, dataset.train[0].fps) == (24.0, 24.0)
        assert flags_of(first.frame_labels(6)) == ".xx..x"
        assert flags_of(second.frame_labels(4)) == "...."
        assert [bool(m.any()) for m in first.masks() or () if m is not None] == [
            bool(flag) for flag in (0, 1, 1, 0, 0, 1)
        ]
        assert second.masks() is None

    @pytest.mark.parametrize("part", ["test_frame_mask", "test_pixel_mask"])
    def test_ground_truth_of_another_count(self, shanghaitech: Path, part: str) -> None:
        path = shanghaitech / "testing" / part / "01_0014.npy"
        np.save(path, np.load(path)[:5])
        with pytest.raises(DataError, match="6 frames and 5 labels or masks") as caught:
            open_dataset(shanghaitech)
        assert part in str(caught.value.where)

    def test_masks_of_another_size(self, shanghaitech: Path) -> None:
        path = shanghaitech / "testing/test_pixel_mask/01_0014.npy"
        np.save(path, np.load(path)[:, :, :30])
        with pytest.raises(DataError, match="Mask 0 is 30x24, the frames are 32x24"):
            list(open_dataset(shanghaitech).test[0].masks() or ())

    @pytest.mark.parametrize("part", ["test_frame_mask", "test_pixel_mask"])
    def test_ground_truth_that_is_no_array(self, shanghaitech: Path, part: str) -> None:
        path = shanghaitech / "testing" / part / "01_0014.npy"
        for content in (b"", b"nonsense", path.read_bytes()[:90]):
            path.write_bytes(content)
            with pytest.raises(DataError) as caught:
                open_dataset(shanghaitech)
            assert str(path) in str(caught.value)

    def test_pickled_array_is_not_executed(self, shanghaitech: Path) -> None:
        path = shanghaitech / "testing/test_frame_mask/01_0014.npy"
        np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(DataError, match="no plain array"):
            open_dataset(shanghaitech)

    def test_runs(self) -> None:
        for flags in ("", "x", ".", "xx", ".x.", "x..xx", "..."):
            array = np.array([flag == "x" for flag in flags], bool)
            back = np.zeros(len(flags), bool)
            for first, end in runs_from_flags(array):
                back[first:end] = True
            assert np.array_equal(back, array)


class TestPlainFolders:
    @pytest.fixture
    def plain(self, tmp_path: Path) -> Path:
        root = tmp_path / "yard"
        write_frames(root / "normal" / "day2", 5, ".png")
        write_video(root / "normal" / "day10.mp4.avi", 6, fps=15)
        write_frames(root / "test" / "a", 6, ".png")
        write_video(root / "test" / "b.avi", 5, fps=15)
        return root

    def test_clips_without_ground_truth(self, plain: Path) -> None:
        dataset = open_dataset(plain)
        assert (dataset.layout, dataset.name) == ("folders", "yard")
        assert names(dataset.train) == ["day2", "day10.mp4"]
        assert [(clip.name, clip.fps) for clip in dataset.test] == [("a", 10.0), ("b", 15.0)]
        assert [clip.frame_labels(5) for clip in dataset.test] == [None, None]
        assert dataset.notes == ("2 of 2 test clips have no labels: a, b",)

    def test_given_rate_holds_for_all(self, plain: Path) -> None:
        dataset = open_dataset(plain, fps=5)
        assert {clip.fps for clip in dataset.train + dataset.test} == {5}
        with dataset.test[1].open() as source:
            assert source.fps == 5

    def test_masks(self, plain: Path) -> None:
        write_masks(plain / "masks" / "a", "..xx..", ".png")
        write_masks(plain / "masks" / "b", "x....", ".png")
        write_masks(plain / "masks" / "c", "x", ".png")
        dataset = open_dataset(plain)
        assert flags_of(dataset.test[0].frame_labels(6)) == "..xx.."
        assert flags_of(dataset.test[1].frame_labels(5)) == "x...."
        assert dataset.notes == ("1 entries of masks belong to no test clip: c",)
        with pytest.raises(DataError, match="4 frames and 5 labels or masks"):
            dataset.test[1].frame_labels(4)

    def test_masks_of_another_count(self, plain: Path) -> None:
        write_masks(plain / "masks" / "a", "..xx...", ".png")
        with pytest.raises(DataError, match="6 frames and 7 labels or masks"):
            open_dataset(plain)

    def test_colour_masks_count_any_channel(self, plain: Path) -> None:
        folder = write_masks(plain / "masks" / "a", "......", ".png")
        for channel in range(3):
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            picture[1, 1, channel] = 1
            cv2.imwrite(str(folder / f"00{channel + 2}.png"), picture)
        assert flags_of(open_dataset(plain).test[0].frame_labels(6)) == ".xxx.."

    def test_label_table(self, plain: Path) -> None:
        (plain / "labels.csv").write_text("\ufeffClip, First, Last\na,1,2\na,5,5\nb.avi,,\n")
        dataset = open_dataset(plain)
        assert dataset.label_source == "labels.csv"
        assert [clip.labels for clip in dataset.test] == [((1, 3), (5, 6)), ()]
        assert flags_of(dataset.test[0].frame_labels(6)) == ".xx..x"
        assert flags_of(dataset.test[1].frame_labels(5)) == "....."
        assert dataset.notes == ()

    def test_label_table_beyond_a_video(self, plain: Path) -> None:
        (plain / "labels.csv").write_text("clip,first,last\nb,3,5\n")
        with pytest.raises(DataError, match="the clip has 5 frames"):
            open_dataset(plain).test[1].frame_labels(5)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("clip,start,end\na,1,2\n", "clip, first, last are expected"),
            ("", "clip, first, last are expected"),
            ("clip,first,last\nz,1,2\n", "no test clip 'z'"),
            ("clip,first,last\na,3,2\n", "no run of frames"),
            ("clip,first,last\na,-1,2\n", "no run of frames"),
            ("clip,first,last\na,1.5,2\n", "no run of frames"),
            ("clip,first,last\na,1\n", "no run of frames"),
            ("clip,first,last\na,1,6\n", "a has 6 frames"),
        ],
    )
    def test_wrong_label_table(self, plain: Path, text: str, message: str) -> None:
        (plain / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            open_dataset(plain)
        assert f"labels.csv:{1 if 'expected' in message else 2}" in str(caught.value.where)

    def test_label_table_that_is_no_text(self, plain: Path) -> None:
        (plain / "labels.csv").write_bytes(b"clip,first,last\n\xff\xfe,1,2\n")
        with pytest.raises(DataError, match="no UTF-8 table"):
            open_dataset(plain)

    def test_label_table_may_name_a_clip_that_was_left_out(self, plain: Path) -> None:
        write_frames(plain / "test" / "short", 1, ".png")
        (plain / "labels.csv").write_text("clip,first,last\nshort,0,0\na,0,1\n")
        dataset = open_dataset(plain)
        assert names(dataset.test) == ["a", "b"]
        assert dataset.notes == ("clip short left out: it has one frame, so no motion",)

    def test_two_clips_of_one_name(self, plain: Path) -> None:
        write_video(plain / "test" / "a.avi", 5)
        with pytest.raises(DataError, match="Two clips have the name 'a'"):
            open_dataset(plain)

    def test_truncated_video_against_its_masks(self, plain: Path) -> None:
        path = write_video(plain / "test" / "b.avi", 40)
        write_masks(plain / "masks" / "b", "." * 40, ".png")
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        clip = open_dataset(plain).test[1]
        with clip.open() as source:
            decoded = len(list(source))
            assert source.skipped == 40 - decoded > 0
        with pytest.raises(DataError, match=f"{decoded} frames and 40 labels"):
            clip.frame_labels(decoded)


class TestOpening:
    def test_missing_and_empty(self, tmp_path: Path) -> None:
        for call in (open_dataset, open_normal):
            with pytest.raises(InputMissingError):
                call(tmp_path / "absent")
            with pytest.raises(InputMissingError):
                call(tmp_path)

    def test_file_instead_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("x")
        with pytest.raises(InputMissingError, match="a folder is expected"):
            open_dataset(tmp_path / "x.txt")

    def test_unknown_layout_on_disk_names_the_known_ones(self, tmp_path: Path) -> None:
        (tmp_path / "stuff").mkdir()
        with pytest.raises(DataError) as caught:
            open_dataset(tmp_path)
        assert all(name in str(caught.value.mend) for name in layout_names())

    def test_layout_by_name(self, ucsd: Path) -> None:
        assert open_dataset(ucsd, layout="ucsd").layout == "ucsd"
        with pytest.raises(DataError, match="layout of no data set"):
            open_dataset(ucsd, layout="avenue")
        with pytest.raises(UsageError, match="no layout 'coco'"):
            open_dataset(ucsd, layout="coco")

    def test_outer_folder_of_an_archive(self, ucsd: Path) -> None:
        assert open_dataset(ucsd.parent).root == ucsd

    def test_outer_folder_with_two_data_sets(self, ucsd: Path) -> None:
        write_frames(ucsd.parent / "UCSDped2" / "Train" / "Train001", 3)
        for call in (open_dataset, open_normal):
            with pytest.raises(DataError, match="Several data sets are here: UCSDped1, UCSDped2"):
                call(ucsd.parent)

    def test_only_single_frames_are_left(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "Train" / "Train001", 1)
        with pytest.raises(InputMissingError, match="no clip with two frames") as caught:
            open_dataset(tmp_path)
        assert "Train001" in str(caught.value.mend)

    def test_missing_part_is_an_error_when_it_is_asked_for(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "train_only" / "Train" / "Train001", 3)
        dataset = open_dataset(tmp_path / "train_only")
        assert len(dataset.require_train()) == 1
        with pytest.raises(InputMissingError, match="no test clips"):
            dataset.require_test()

    def test_normal_of_a_data_set_is_its_training_part(self, ucsd: Path) -> None:
        assert names(open_normal(ucsd)) == ["Train001", "Train002"]

    def test_normal_of_clips(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "b", 3)
        write_video(tmp_path / "a.avi", 3, fps=20)
        write_frames(tmp_path / "c", 1)
        clips = open_normal(tmp_path)
        assert [(clip.name, clip.fps) for clip in clips] == [("a", 20.0), ("b", 10.0)]

    def test_normal_of_one_clip(self, tmp_path: Path) -> None:
        video = write_video(tmp_path / "a.avi", 3, fps=20)
        frames = write_frames(tmp_path / "b", 3)
        assert names(open_normal(video)) == ["a"]
        assert names(open_normal(frames, fps=4)) == ["b"]
        assert open_normal(frames, fps=4)[0].fps == 4

    def test_normal_of_a_single_frame(self, tmp_path: Path) -> None:
        with pytest.raises(InputMissingError, match="two frames or more") as caught:
            open_normal(write_frames(tmp_path / "b", 1))
        assert "one frame" in str(caught.value.mend)


@pytest.mark.footage
class TestPed2:
    def test_counts_are_those_of_the_official_list(self, footage: Path) -> None:
        dataset = open_dataset(footage / "ucsd_ped2")
        assert (dataset.layout, dataset.name) == ("ucsd", "UCSD Ped2")
        assert len(dataset.train) == 16
        assert sum(clip.frame_count or 0 for clip in dataset.train) == 2550
        assert len(dataset.test) == 12
        assert sum(clip.frame_count or 0 for clip in dataset.test) == 2010
        assert all(clip.has_masks for clip in dataset.test)
        assert dataset.notes == ()

    def test_anomalous_runs_are_those_of_the_official_list(self, footage: Path) -> None:
        official = {
            1: (61, 180), 2: (95, 180), 3: (1, 146), 4: (31, 180), 5: (1, 129), 6: (1, 159),
            7: (46, 180), 8: (1, 180), 9: (1, 120), 10: (1, 150), 11: (1, 180), 12: (88, 180),
        }  # fmt: skip
        total = 0
        for clip in open_dataset(footage / "ucsd_ped2").test:
            labels = clip.frame_labels(clip.frame_count or 0)
            assert labels is not None
            first, last = official[int(clip.name.removeprefix("Test"))]
            assert runs_from_flags(labels) == ((first - 1, last),)
            total += int(labels.sum())
        assert total == 1648

    def test_masks_have_the_size_of_the_frames(self, footage: Path) -> None:
        masks = list(open_dataset(footage / "ucsd_ped2").test[0].masks() or ())
        assert len(masks) == 180
        assert {m.shape for m in masks if m is not None} == {(240, 360)}

    def test_footage_without_a_layout_is_normal_clips(self, footage: Path) -> None:
        (clip,) = open_normal(footage / "video")
        assert (clip.name, clip.fps, clip.frame_count) == ("vtest_480x360", 10.0, 795)
