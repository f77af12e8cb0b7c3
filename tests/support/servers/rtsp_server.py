"""An RTSP camera for tests: run by the system's Python, which has GStreamer's bindings.

    rtsp_server.py PORT CODEC [--frozen] [--sizes 320x240,160x120] [--login user:password]

Serves rtsp://127.0.0.1:PORT/cam; prints `ready`. With several sizes the picture changes its size
every two seconds, in mid-stream.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": (
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1"
        " ! rtph264pay config-interval=-1 name=pay0 pt=96"
    ),
    "jpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("codec", choices=ENCODERS)
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--sizes", default="320x240")
    parser.add_argument("--fps", default=10, type=int)
    parser.add_argument("--login")
    asked = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in asked.sizes.split(",")]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(asked.port)
    factory = GstRtspServer.RTSPMediaFactory()
    pattern = "smpte100" if asked.frozen else "ball"
    factory.set_launch(
        f"( videotestsrc is-live=true pattern={pattern} ! videoscale ! "
        f"capsfilter name=size caps={caps(sizes[0], asked.fps)} ! {ENCODERS[asked.codec]} )"
    )
    factory.set_shared(True)
    if len(sizes) > 1:
        factory.connect("media-configure", lambda _, media: change_sizes(media, sizes, asked.fps))
    if asked.login:
        protect(server, factory, *asked.login.split(":"))
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit("the port cannot be used")
    print("ready", flush=True)
    GLib.MainLoop().run()


def caps(size: tuple[int, ...], fps: int) -> str:
    return f"video/x-raw,format=I420,width={size[0]},height={size[1]},framerate={fps}/1"


def change_sizes(media: object, sizes: list[tuple[int, ...]], fps: int) -> None:
    element = media.get_element().get_by_name("size")  # type: ignore[attr-defined]
    turn = [0]

    def change() -> bool:
        turn[0] += 1
        chosen = caps(sizes[turn[0] % len(sizes)], fps)
        element.set_property("caps", Gst.Caps.from_string(chosen))
        return True

    GLib.timeout_add(2000, change)


def protect(server: object, factory: object, user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)  # type: ignore[attr-defined]
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
