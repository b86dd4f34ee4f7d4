"""`moga-st lift WEIGHTS SOURCE`."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moga_st.cli.collecting import bring_torch
from moga_st.cli.find_people import find_people
from moga_st.cli.lift_flags import Lift, check_flags
from moga_st.cli.parsing import parse
from moga_st.cli.tables import fact_lines
from moga_st.errors import BadInput

if TYPE_CHECKING:
    import torch
    from torch import nn

    from moga_st.data.pose.export.motion import Motion
    from moga_st.data.pose.keypoints import Keypoints
    from moga_st.data.video.clips import Video
    from moga_st.infer.truth import Truth


def run(argv: list[str]) -> None:
    args = parse(Lift, "moga-st lift", argv)
    bring_torch()
    try:
        _lift(args, argv)
    except BadInput as error:  # the library names its arguments in backticks
        raise BadInput(re.sub(r"`([a-z_]+)`", lambda m: "--" + m[1].replace("_", "-"), str(error))) from error


def _lift(args: Lift, argv: list[str]) -> None:
    from moga_st.data.pose.keypoints import holds_keypoints
    from moga_st.data.video.clips import open_video
    from moga_st.device import setup
    from moga_st.export.load import load
    from moga_st.infer.lift import check_lifter
    from moga_st.infer.truth import read_truth
    from moga_st.record import provenance

    # people are looked for in any other file, which may take long: all that can be checked comes before
    source = args.source
    is_video = source is not None and not source.is_dir() and not holds_keypoints(source)
    check_flags(args, is_video)
    truth = None if args.truth is None else read_truth(args.truth)
    device = setup(args.device)
    net = load(args.weights, device, args.runtime).net
    check_lifter(net)
    if source is None:
        from moga_st.cli.lift_live import lift_live

        lift_live(args, net, device)
        return
    video = open_video(source) if is_video else None if args.video is None else open_video(args.video)
    file, found = source, {}
    if is_video:
        assert video is not None
        file = args.out / f"{source.stem}_lift_2d.json"  # a name that keypoints of the user's own hardly have
        found = {"found_frames_per_second": round(find_people(args, video, device, file), 1)}
    people = _read_people(args, file, video)
    results = _write_lifted(args, net, device, source, people, video, [file] if is_video else [], truth)
    about = {"argv": ["moga-st", "lift", *argv], "made_by": provenance(device)} if args.json else {}
    _print(args, [result | found for result in results], about)


def _page(
    args: Lift, source: Path, people: list[Keypoints], motions: list[Motion], video: Video | None, *, from_0: bool
) -> Path:
    """Everyone in one scene, beside the video if there is one."""
    from moga_st.infer.lift_files import span_of
    from moga_st.report.made import lift_page

    frames = None if video is None else span_of(video, people, from_0=from_0)
    warnings = [f"person {k.person}: {warning}" for k in people for warning in k.warnings]
    rows = [("weights", str(args.weights)), ("source", str(source)), ("frames a second", people[0].fps)]
    return lift_page(source.name, motions, frames, warnings, rows).save(args.out / f"{source.stem}_lift.html")


def _read_people(args: Lift, file: Path, video: Video | None) -> list[Keypoints]:
    from moga_st.data.pose.keypoints import read_people

    return read_people(
        file,
        size_px=video.size_px if args.size_px is None and video is not None else args.size_px,
        fps=video.fps if args.fps is None and video is not None else args.fps,
        layout=args.layout,
        person=args.person,
        everyone=args.everyone,
        min_confidence=args.min_confidence,
        max_gap_s=args.max_gap_s,
        ignore_ids=args.ignore_ids,
        clip=args.clip,
    )


def _lift_all(args: Lift, net: nn.Module, people: list[Keypoints], device: torch.device) -> tuple[list[Motion], float]:
    """The people's motions, and how many frames a second were lifted."""
    from moga_st.infer.scene import lift_scene

    start = time.perf_counter()
    motions = lift_scene(
        net,
        people,
        device,
        space=args.space or "world",
        smooth=args.smoothing,
        focal_px=args.focal_px,
        pitch_deg=args.pitch_deg,
        roll_deg=args.roll_deg,
        height_m=args.height_m,
        progress=len(people) > 1,
    )
    return motions, sum(len(k.points_px) for k in people) / (time.perf_counter() - start)


def _write_lifted(
    args: Lift,
    net: nn.Module,
    device: torch.device,
    source: Path,
    people: list[Keypoints],
    video: Video | None,
    found: list[Path],
    truth: Truth | None,
) -> list[dict[str, Any]]:
    """Lift, and write each person's files; returns what was done for each.

    Args:
        found: the file of keypoints that were found in the video, for the list of what was written.
    """
    from tqdm import tqdm

    from moga_st.infer import lift_files
    from moga_st.infer.lift import came_from
    from moga_st.infer.truth import score
    from moga_st.storage import escape

    stems = [lift_files.stem_of(args.out, source.stem, k) for k in people]
    lift_files.check_frame(people, args.cam_frame)
    _check_free(args, source, stems)
    args.out.mkdir(parents=True, exist_ok=True)
    if video is not None and (turned := lift_files.turned_warning(video)):
        print(escape(f"moga-st: warning: {turned}"), file=sys.stderr)
    motions, rate = _lift_all(args, net, people, device)
    results, is_video = [], bool(found)
    each = zip(people, motions, stems, strict=True)
    for k, motion, stem in tqdm(each, "writing", len(people), unit="person", disable=len(people) == 1):
        for warning in k.warnings:
            tqdm.write(escape(f"moga-st: warning: person {k.person}: {warning}"), file=sys.stderr)
        frames = None if video is None else lift_files.frames_of(video, k, from_0=is_video)
        files = lift_files.write_lifted(stem, k, motion, args.formats, source.name, frames, args.draw)
        if args.cam is not None:
            cam = came_from(net, k, args.cam, args.cam_frame, device, args.smoothing, args.focal_px)
            files += lift_files.write_cam(stem, k, cam, source.name)
        about = {
            "space": f"{motion.space}; {motion.note.removeprefix(k.note + '; ')}",
            "smoothing": dataclasses.asdict(args.one_euro) if args.smooth else None,
            **({} if truth is None else {"truth": score(motion, truth, k.time_zero)}),
        }
        results.append(lift_files.facts(k, [*found, *files], rate) | about)
        found = []
    if args.report:
        page = _page(args, source, people, motions, video, from_0=is_video)
        results[0]["written"].append(str(page))
    return results


def _check_free(args: Lift, source: Path, stems: list[Path]) -> None:
    """Refuse to write over what is there, unless that was asked for."""
    from moga_st.infer import lift_files

    if args.overwrite:
        return
    lift_files.check_free(stems, (*args.formats, *(lift_files.PICTURES if args.draw else ())))
    if args.cam is not None:
        lift_files.check_free(map(lift_files.cam_stem, stems), ("png",))
    if args.report:
        lift_files.check_free([args.out / f"{source.stem}_lift"], ("html",))


def _print(args: Lift, results: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """One person's facts, or the list of everyone's; ``about`` all of it, in JSON."""
    if args.json:
        several = args.everyone or len(results) > 1
        print(json.dumps(({"lifted": results} if several else results[0]) | about, indent=2))
        return
    for result in results:
        shown = {k: v for k, v in result.items() if k != "warnings"}
        shown |= {"smoothing": args.smoothing or "off", "written": ", ".join(result["written"])}
        if "truth" in shown:
            shown["truth"] = ", ".join(f"{name} {value}" for name, value in result["truth"].items())
        print(fact_lines(shown))
