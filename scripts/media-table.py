#!/usr/bin/env python3
"""Films of every container and property, read by this program and by ffmpeg's own filters.

  cargo build --release -p afd-clips --example media_frames
  scripts/media-table.py target/release/examples/media_frames docs/results/media.md

Makes one small file per row with ffmpeg, prepares it with the example, renders what a player would
show with other filters of the same ffmpeg, and writes the largest difference of both as a table.
Exit status 1 where a row differs from what it expects."""

import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

READER, TABLE = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
WORK = Path(tempfile.mkdtemp(prefix="media-table-"))
WIDTH, HEIGHT = 64, 48
DRAWN = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=24:duration=2,format=gbrp"
H264 = "-c:v libx264 -crf 0 -pix_fmt yuv444p -bf 2"
VP9 = "-c:v libvpx-vp9 -lossless 1 -pix_fmt yuv444p"
CODECS = {"mp4": H264, "mov": H264, "mkv": H264, "webm": VP9, "avi": "-c:v ffv1 -pix_fmt yuv444p"}
ROWS = []


def ffmpeg(arguments, output=None):
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-y"]
    command += arguments if isinstance(arguments, list) else arguments.split()
    command += [str(output)] if output else []
    done = subprocess.run(command, capture_output=True, cwd=WORK)
    if done.returncode:
        raise RuntimeError(" ".join(command) + "\n" + done.stderr.decode()[-800:])
    return done.stdout


def rendered(source, filters, frames, before=""):
    """Raw RGB of ffmpeg's own: `before` is what stands in front of the input."""
    return ffmpeg(
        before.split()
        + ["-i", str(source), "-filter_complex", filters, "-frames:v", str(frames)]
        + "-vsync passthrough -f rawvideo -pix_fmt rgb24 pipe:1".split()
    )


def read(source, frames, size, rate, fit="crop"):
    width, height = size
    done = subprocess.run(
        [READER, source, str(frames), str(height), str(width), str(rate), fit],
        capture_output=True,
        cwd=WORK,
    )
    return done.stdout if done.returncode == 0 else done.stderr.decode().strip()


def row(kind, container, how, found, expected, frames, most=3):
    """Compares frames; `expected` is raw RGB, or a part of the sentence that refuses the file."""
    if isinstance(expected, str):
        good = isinstance(found, str) and expected in found
        said = found.replace(str(WORK) + "/", "") if isinstance(found, str) else "not refused"
        ROWS.append((kind, container, how, "refused: " + said.removeprefix("refused: "), good))
    elif isinstance(found, str):
        ROWS.append((kind, container, how, found.replace(str(WORK) + "/", ""), False))
    elif len(found) != len(expected):
        ROWS.append((kind, container, how, f"{len(found)} bytes, not {len(expected)}", False))
    else:
        off = [abs(a - b) for a, b in zip(found, expected)]
        mean, worst = sum(off) / len(off), max(off)
        said = f"{frames} frames, off by {mean:.2f} on average, {worst} at most"
        ROWS.append((kind, container, how, said, worst <= most))
    print("ok  " if ROWS[-1][4] else "FAIL", *ROWS[-1][:4], sep=" | ", flush=True)


def made(name, filters, codec, source=DRAWN, extra=""):
    path = WORK / name
    ffmpeg(["-f", "lavfi", "-i", source] + extra.split() + ["-vf", filters] + codec.split(), path)
    return path


def frame_times():
    times = "settb=1/1000,setpts='if(lt(N,16),N*50,800+(N-16)*200)'"
    how = "`setpts=PTS-STARTPTS,fps=10:round=up` of 50 and 200 ms"
    reference = "setpts=PTS-STARTPTS,fps=10:round=up"
    for container in ("mp4", "mov", "mkv", "webm", "apng", "gif"):
        codec = CODECS.get(container, "-pix_fmt rgb24" if container == "apng" else "")
        codec += " -f apng -plays 0" if container == "apng" else ""
        path = made(f"vfr.{container}", times, f"-vsync vfr {codec}")
        clip = read(path, 30, (WIDTH, HEIGHT), 10)
        row("frame times", container, how, clip, rendered(path, reference, 30), 30)
    how = "`fps=10:round=up` of 24 per second"
    for container, codec in CODECS.items():
        path = made(f"cfr.{container}", "null", codec)
        clip = read(path, 19, (WIDTH, HEIGHT), 10)
        row("a constant rate", container, how, clip, rendered(path, "fps=10:round=up", 19), 19)
    path = made("cfr.webp", "null", "-c:v libwebp_anim -pix_fmt bgra -lossless 1 -loop 0")
    drawn = ffmpeg(f"-f lavfi -i {DRAWN} -vf fps=10:round=up,format=rgb24 -frames:v 19 -f rawvideo"
                   " -pix_fmt rgb24 pipe:1")
    row("a constant rate", "webp", how + " (of what was drawn: this ffmpeg reads none)",
        read(path, 19, (WIDTH, HEIGHT), 10), drawn, 19)


def late_starts():
    # Half a millisecond early, because Matroska rounds to whole ones.
    how = "`setpts=PTS-STARTPTS-0.0005/TB,fps=12:round=up` of a picture 1.5 s after the sound"
    reference = "[0:v]settb=1/90000,setpts=PTS-STARTPTS-0.0005/TB,fps=12:round=up:start_time=0"
    sounds = {"mp4": "aac", "mov": "aac", "mkv": "libvorbis", "webm": "libvorbis", "ts": "mp2"}
    for container, sound in sounds.items():
        path = WORK / f"late.{container}"
        ffmpeg(["-f", "lavfi", "-i", DRAWN, "-f", "lavfi", "-i", "anullsrc=duration=4"]
               + ["-vf", "setpts=PTS+1.5/TB", "-c:a", sound]
               + CODECS.get(container, "-c:v mpeg2video -q:v 2").split(), path)
        clip = read(path, 20, (WIDTH, HEIGHT), 12)
        row("a late start", container, how, clip, rendered(path, reference, 20), 20)


def pixel_aspect():
    how = "`scale=64:36:flags=area` of 64 x 48 pixels of 4:3"
    for container in ("mp4", "mov", "mkv", "webm", "avi", "gif"):
        path = made(f"sar.{container}", "setsar=4/3", CODECS.get(container, ""))
        # Shown, 64 x 48 pixels are 85.3 x 48 square ones; 36 high, that is 64 wide.
        reference = "scale=out_range=pc,format=gbrp,scale=64:36:flags=area"
        clip = read(path, 5, (64, 36), 24)
        row("pixel aspect", container, how, clip, rendered(path, reference, 5), 5, most=6)
    for kind, codec in (("png", ""), ("jpg", "-q:v 2 -pix_fmt yuvj444p")):
        folder = WORK / f"sar-{kind}"
        folder.mkdir()
        made(f"sar-{kind}/%05d.{kind}", "setsar=4/3", codec + " -frames:v 5")
        (folder / "frames.json").write_text('{"frames_per_second": 24}')
        row("pixel aspect", f"{kind} frames", "none: programs disagree on it",
            read(folder, 5, (64, 36), 24), "not square", 5)


def tiff(orientation):
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_exif(path, orientation):
    """Puts Exif data into a JPEG, PNG or WebP file."""
    data, exif = path.read_bytes(), tiff(orientation)
    if path.suffix == ".jpg":
        body = b"Exif\0\0" + exif
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    elif path.suffix in (".png", ".apng"):
        data = data[:33] + png_chunk(b"eXIf", exif) + data[33:]
    else:
        flags = data[20] | 8
        data = data[:20] + bytes([flags]) + data[21:]
        data += b"EXIF" + struct.pack("<I", len(exif)) + exif
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    path.write_bytes(data)


TURNS = {
    2: "hflip",
    3: "hflip,vflip",
    4: "vflip",
    5: "transpose=cclock_flip",
    6: "transpose=clock",
    7: "transpose=clock_flip",
    8: "transpose=cclock",
}


def orientation():
    for container in ("mp4", "mov"):
        lying = made(f"lying.{container}", "null", H264)
        for degrees, turn in ((90, "transpose=cclock"), (180, "hflip,vflip"),
                              (270, "transpose=clock")):
            path = WORK / f"turned{degrees}.{container}"
            ffmpeg(f"-i {lying} -c copy -metadata:s:v:0 rotate={degrees}", path)
            size = (WIDTH, HEIGHT) if degrees == 180 else (HEIGHT, WIDTH)
            reference = rendered(path, turn, 5, "-noautorotate")
            row("orientation", container, f"`{turn}` of {degrees} degrees",
                read(path, 5, size, 24), reference, 5)
    for kind, codec in (("jpg", "-q:v 2 -pix_fmt yuvj444p"), ("png", "-pix_fmt rgb24"),
                        ("apng", "-pix_fmt rgb24 -f apng -plays 0"),
                        ("webp", "-c:v libwebp_anim -pix_fmt bgra -lossless 1 -loop 0")):
        worst = b"", b""
        for number, turn in TURNS.items():
            size = (HEIGHT, WIDTH) if number >= 5 else (WIDTH, HEIGHT)
            if kind in ("jpg", "png"):
                folder = WORK / f"exif{number}-{kind}"
                folder.mkdir()
                made(f"{folder.name}/%05d.{kind}", "null", codec + " -frames:v 3")
                reference = rendered(folder / f"%05d.{kind}", turn + ",format=rgb24", 3)
                for picture in folder.glob(f"*.{kind}"):
                    with_exif(picture, number)
                (folder / "frames.json").write_text('{"frames_per_second": 24}')
                path = folder
            else:
                path = made(f"exif{number}.{kind}", "null", codec + " -frames:v 3")
                with_exif(path, number)
                reference = ffmpeg(f"-f lavfi -i {DRAWN} -vf {turn},format=rgb24 -frames:v 3"
                                   " -f rawvideo -pix_fmt rgb24 pipe:1")
            found = read(path, 3, size, 24)
            if isinstance(found, str):
                worst = found, reference
                break
            worst = worst[0] + found, worst[1] + reference
        name = f"{kind} frames" if kind in ("jpg", "png") else kind
        row("orientation", name, "`transpose`, `hflip`, `vflip` of Exif 2 to 8", *worst, 21, most=4)


def colours():
    truth = ffmpeg(f"-f lavfi -i {DRAWN} -vf format=rgb24 -frames:v 5 -f rawvideo"
                   " -pix_fmt rgb24 pipe:1")
    for matrix, tag in (("bt709", "bt709"), ("bt601", "smpte170m")):
        for span in ("tv", "pc"):
            for container in ("mp4", "mov", "mkv", "webm"):
                path = made(
                    f"{matrix}-{span}.{container}",
                    f"format=gbrp,scale=out_color_matrix={matrix}:out_range={span},format=yuv444p",
                    f"{CODECS[container]} -colorspace {tag} -color_range {span}",
                )
                row("colours", container, f"what was drawn, stored as {matrix}, {span}",
                    read(path, 5, (WIDTH, HEIGHT), 24), truth, 5, most=5)
    for container, codec in CODECS.items():
        for width, height, matrix in ((64, 48, "bt601"), (64, 640, "bt709")):
            size = f"testsrc2=size={width}x{height}:rate=24:duration=0.25,format=gbrp"
            path = made(f"untagged{height}.{container}",
                        f"format=gbrp,scale=out_color_matrix={matrix}:out_range=tv,format=yuv444p",
                        codec + " -colorspace unknown", source=size)
            drawn = ffmpeg(f"-f lavfi -i {size} -vf format=rgb24 -frames:v 3 -f rawvideo"
                           " -pix_fmt rgb24 pipe:1")
            row("colours", container, f"what was drawn, {width} x {height}, unnamed {matrix}",
                read(path, 3, (width, height), 24), drawn, 3, most=5)
    # Stored lying down, 640 x 48: television's small size; shown, 640 high.
    size = "testsrc2=size=640x48:rate=24:duration=0.25,format=gbrp"
    for container in ("mp4", "mov"):
        lying = made(f"lying601.{container}",
                     "format=gbrp,scale=out_color_matrix=bt601:out_range=tv,format=yuv444p",
                     CODECS[container], source=size)
        path = WORK / f"turned601.{container}"
        ffmpeg(f"-i {lying} -c copy -metadata:s:v:0 rotate=90", path)
        drawn = ffmpeg(f"-f lavfi -i {size} -vf transpose=cclock,format=rgb24 -frames:v 3"
                       " -f rawvideo -pix_fmt rgb24 pipe:1")
        row("colours", container, "what was drawn, 640 x 48, unnamed bt601, turned",
            read(path, 3, (48, 640), 24), drawn, 3, most=5)


def hdr():
    codecs = {
        "mp4": "-c:v libx265 -preset fast -x265-params log-level=error:lossless=1",
        "mov": "-c:v libx265 -preset fast -x265-params log-level=error:lossless=1",
        "mkv": "-c:v libx265 -preset fast -x265-params log-level=error:lossless=1",
        "webm": "-c:v libvpx-vp9 -lossless 1",
    }
    for name, transfer in (("PQ", "smpte2084"), ("HLG", "arib-std-b67")):
        reference = ("zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,"
                     "zscale=t=bt709:m=bt709:r=pc,format=gbrp")
        for container, codec in codecs.items():
            named = "setparams=colorspace=bt2020nc:color_primaries=bt2020:range=tv:color_trc="
            path = made(f"{name}.{container}", f"{named}{transfer},format=yuv444p10le",
                        f"{codec} -pix_fmt yuv444p10le -colorspace bt2020nc -color_primaries bt2020"
                        f" -color_trc {transfer} -color_range tv -frames:v 6")
            clip = read(path, 5, (WIDTH, HEIGHT), 24)
            row("HDR", container, f"`zscale` in linear light, {name}, 203 nits at white", clip,
                rendered(path, reference, 5), 5, most=3)
    path = made("wide.mp4", "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=bt709:"
                "range=tv,format=yuv444p10le", codecs["mp4"] + " -pix_fmt yuv444p10le -frames:v 6"
                " -colorspace bt2020nc -color_primaries bt2020 -color_trc bt709 -color_range tv")
    reference = ("zscale=t=linear,format=gbrpf32le,zscale=p=bt709,zscale=t=bt709:m=bt709:r=pc,"
                 "format=gbrp")
    row("wide colours", "mp4", "`zscale`, BT.2020 without HDR", read(path, 5, (WIDTH, HEIGHT), 24),
        rendered(path, reference, 5), 5, most=3)
    path = made("ycgco.mkv", "null", H264 + " -colorspace ycgco")
    row("colours", "mkv", "none: YCgCo", read(path, 5, (WIDTH, HEIGHT), 24), "ycgco", 5)


def alpha():
    hole = ("format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)'"
            ":a='if(lt(X,24),0,if(lt(X,44),128,255))'")
    codecs = {
        "mov (qtrle)": "-c:v qtrle -pix_fmt argb",
        "mov (ProRes 4444)": "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le",
        "mkv (FFV1)": "-c:v ffv1 -pix_fmt bgra",
        "webm (VP9)": "-c:v libvpx-vp9 -crf 10 -b:v 0 -pix_fmt yuva420p",
        "webm (VP8)": "-c:v libvpx -crf 10 -b:v 4M -pix_fmt yuva420p -auto-alt-ref 0",
        "mkv (VP9)": "-c:v libvpx-vp9 -crf 10 -b:v 0 -pix_fmt yuva420p",
        "avi (PNG)": "-c:v png -pix_fmt rgba",
        "apng": "-f apng -plays 0 -pix_fmt rgba",
        "gif": "",
    }
    how = "`premultiply`, which is over black"
    over = "scale=out_range=pc,format=rgba,format=gbrap,premultiply=inplace=1,format=gbrp"
    for name, codec in codecs.items():
        path = made(f"alpha-{name.split()[-1].strip('()')}.{name.split()[0]}", hole,
                    codec + " -frames:v 6")
        before = {"webm (VP9)": "-c:v libvpx-vp9", "mkv (VP9)": "-c:v libvpx-vp9",
                  "webm (VP8)": "-c:v libvpx"}.get(name, "")
        row("transparency", name, how, read(path, 5, (WIDTH, HEIGHT), 24),
            rendered(path, over, 5, before), 5, most=4)
    folder = WORK / "alpha-png"
    folder.mkdir()
    made("alpha-png/%05d.png", hole, "-pix_fmt rgba -frames:v 5")
    (folder / "frames.json").write_text('{"frames_per_second": 24}')
    reference = rendered(folder / "%05d.png", over, 5)
    row("transparency", "png frames", how, read(folder, 5, (WIDTH, HEIGHT), 24),
        reference, 5, most=4)
    path = made("alpha.webp", hole, "-c:v libwebp_anim -pix_fmt bgra -lossless 1 -loop 0"
                " -frames:v 5")
    row("transparency", "webp", "`premultiply`, which is over black (of the same frames as PNG)",
        read(path, 5, (WIDTH, HEIGHT), 24), reference, 5, most=4)


def interlace():
    fields = "fps=48,format=yuv420p,tinterlace=interleave_top,setfield=tff"
    codecs = {
        "mp4": "-c:v libx264 -crf 4 -x264-params tff=1 -flags +ilme+ildct",
        "mov": "-c:v libx264 -crf 4 -x264-params tff=1 -flags +ilme+ildct",
        "mkv": "-c:v libx264 -crf 4 -x264-params tff=1 -flags +ilme+ildct",
        "mpg": "-c:v mpeg2video -q:v 2 -flags +ilme+ildct",
        "ts": "-c:v mpeg2video -q:v 2 -flags +ilme+ildct",
        "avi": "-c:v mpeg2video -q:v 2 -flags +ilme+ildct",
    }
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=48:duration=2"
    for container, codec in codecs.items():
        codec += " -top 1 -pix_fmt yuv420p"
        path = made(f"fields.{container}", fields, codec, source=source)
        reference = "yadif=mode=send_frame:deint=all,scale=out_range=pc,format=rgb24"
        clip = read(path, 20, (WIDTH, HEIGHT), 24)
        row("interlace", container, "`yadif`, a frame for two fields", clip,
            rendered(path, reference, 20), 20)
    for container in ("mp4", "mov"):
        path = WORK / f"fields-turned.{container}"
        ffmpeg(f"-i {WORK}/fields.{container} -c copy -metadata:s:v:0 rotate=90", path)
        row("interlace", container, "none: turned fields are columns",
            read(path, 20, (HEIGHT, WIDTH), 24), "interlaced and to be turned", 20)


def streams():
    for container in ("mp4", "mov", "mkv", "webm"):
        path = WORK / f"two.{container}"
        ffmpeg(["-f", "lavfi", "-i", "color=red:size=32x32:rate=24:duration=1", "-f", "lavfi", "-i",
                DRAWN, "-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1",
                "default"] + CODECS[container].split(), path)
        row("the default stream", container, "`0:v:1`, which is marked as default",
            read(path, 20, (WIDTH, HEIGHT), 24), rendered(path, "[0:v:1]null", 20), 20)
    path = WORK / "cover.mp4"
    ffmpeg(["-f", "lavfi", "-i", "anullsrc=duration=1", "-f", "lavfi", "-i", DRAWN, "-map", "0",
            "-map", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj444p", "-frames:v", "1",
            "-disposition:v", "attached_pic"], path)
    row("the default stream", "mp4", "none: sound with a cover picture",
        read(path, 1, (WIDTH, HEIGHT), 24), "no video but a cover picture", 1)


def main():
    for properties in (frame_times, late_starts, pixel_aspect, orientation, colours, hdr, alpha,
                       interlace, streams):
        properties()
    version = subprocess.run(["ffmpeg", "-version"], capture_output=True).stdout.decode()
    version = version.split(" Copyright")[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                            cwd=Path(__file__).parent).stdout.decode().strip()
    bad = sum(not good for *_, good in ROWS)
    text = f"""# Media as players show them

Films of every container and property, made by `{version}`,
read by this program (commit {commit}) and rendered by ffmpeg's own filters, frame by frame.

```sh
cargo build --release -p afd-clips --example media_frames
scripts/media-table.py target/release/examples/media_frames docs/results/media.md
```

Differences are levels of 255, over all pixels of all frames compared.
{len(ROWS)} rows, {bad} of them not as expected.
The rules are in [your-clips.md](../your-clips.md).

| property | container | what ffmpeg shows | this program | |
|---|---|---|---|---|
"""
    for kind, container, how, said, good in ROWS:
        text += f"| {kind} | {container} | {how} | {said} | {'as it' if good else 'DIFFERS'} |\n"
    text += """
What is not in the table, because ffmpeg 5.1 neither writes nor reads it: orientation in Matroska
and WebM, and cropping marks (`clap`, PixelCrop). AVI has no orientation.
"""
    TABLE.write_text(text)
    sys.exit(bad > 0)


main()
