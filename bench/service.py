"""Compare the service with its engine: throughput of many clients, latency of one, memory, and a new run under load.

The load comes from a process of its own, over persistent connections; the engine alone is measured before and after.
The requests of the single client alternate with the same images through decoder and engine in the client's process.

python bench/service.py [--requests 2000] [--clients 32] [--swap] [--run FOLDER]
"""

import argparse
import asyncio
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from paths import PHOTOS, ROOT, TL, dogs_vs_cats_table, run

from tl.data.images import decode, fit
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--alone", type=int, default=100, help="requests of one client")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--batches", type=int, default=20, help="of the engine alone")
    parser.add_argument("--swap", action="store_true", help="a newer run every few seconds")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        port, clients, requests = map(int, arguments.load)
        print(json.dumps(asyncio.run(load(port, clients, requests))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, Path(scratch))


def measure(arguments: argparse.Namespace, home: Path) -> None:
    run_folder = arguments.run
    if run_folder is None:
        run([*TL, "finetune", str(dogs_vs_cats_table(home / "photos.csv")), "--quiet", "--out", "run"], home)
        run_folder = home / "run"
    (home / "runs").mkdir()
    shutil.copytree(run_folder, home / "runs" / "first")
    (home / "runs" / "latest").symlink_to("first")
    before = call(run_folder, f"engine_alone({str(run_folder)!r}, {arguments.batches})")
    command = [*TL, "serve", "--port", "0", "--no-jobs", "--rate", "0"]
    server = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=(home / "log").open("w"), text=True)
    try:
        port = int(re.findall(r":(\d+)", server.stdout.readline())[0])
        run_load(port, 4, 64)
        alone = call(run_folder, f"alternate({str(run_folder)!r}, {port}, {arguments.alone})")
        rounds, memory = [], [resident(server.pid)]
        for at in range(4):
            if arguments.swap:
                swap_run(home, at)
            rounds.append(run_load(port, arguments.clients, arguments.requests // 4))
            memory.append(resident(server.pid))
    finally:
        server.terminate()
        server.wait(60)
    after = call(run_folder, f"engine_alone({str(run_folder)!r}, {arguments.batches})")
    report(before, after, alone, rounds, memory)


def report(before: dict, after: dict, alone: dict, rounds: list[dict], memory: list[int]) -> None:
    bare = statistics.mean((before["rate"], after["rate"]))
    rate = sum(one["count"] for one in rounds) / sum(one["seconds"] for one in rounds)
    batch = 16 / bare * 2  # two batches are under way at a time
    p50, p99 = (statistics.median(one[name] for one in rounds) for name in ("p50", "p99"))
    print(f"engine alone                 {before['rate']:7.1f} and {after['rate']:.1f} images/s")
    print(f"service, many clients        {rate:7.1f} images/s, {rate / bare:.2f} of the engine")
    print(f"  p50, p99                   {p50 * 1000:7.0f}, {p99 * 1000:.0f} ms; {p99 / batch:.1f} times a batch of 16")
    single, one_client = alone["single"], alone["service"]
    print(f"decode and engine, one image {single * 1000:7.1f} ms")
    print(f"service, one client, p50     {one_client * 1000:7.1f} ms, {one_client / single:.2f} times that")
    failed, count = (sum(one[name] for one in rounds) for name in ("failed", "count"))
    print(f"failed                       {failed:7} of {count}")
    print(f"runs that answered           {len({name for one in rounds for name in one['runs']}):7}")
    print(f"memory of the server, MB     {', '.join(str(size >> 20) for size in memory)}")


def call(run_folder: Path, expression: str) -> dict:
    """The result of a function of this file, in a process of its own."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'bench')!r}]; import service, json; "
    code += f"print(json.dumps(service.{expression}))"
    return json.loads(run([sys.executable, "-c", code], run_folder.parent).output.splitlines()[-1])


def engine_alone(run_folder: str, batches: int) -> dict:
    """Images per second of the engine on decoded images in batches of 16."""
    predictor = Predictor(load_run(run_folder), engine="openvino")
    recipe, engine = predictor.run.backbone.recipe, predictor.engine
    contents = images()[:64]
    pixels = [fit(decode(content, recipe.image_size), recipe.image_size, recipe.resize) for content in contents]
    full = [np.stack(pixels[start : start + 16]) for start in range(0, 64, 16)]
    for _ in engine.run((at, full[at % 4]) for at in range(4)):
        pass
    started = time.monotonic()
    for _ in engine.run((at, full[at % 4]) for at in range(batches)):
        pass
    return {"rate": batches * 16 / (time.monotonic() - started)}


def alternate(run_folder: str, port: int, count: int) -> dict:
    """Median seconds of one image from its bytes to its features here, and to the response of the service."""
    predictor = Predictor(load_run(run_folder), engine="openvino")
    recipe, engine = predictor.run.backbone.recipe, predictor.engine
    service, contents = http.client.HTTPConnection("127.0.0.1", port), images()
    times: dict[str, list[float]] = {"single": [], "service": []}
    for at in range(count):
        content = contents[at % len(contents)]
        started = time.monotonic()
        engine.run_one(fit(decode(content, recipe.image_size), recipe.image_size, recipe.resize)[None])
        between = time.monotonic()
        service.request("POST", "/v1/predict", content)
        assert service.getresponse().read().startswith(b"{")
        times["single"].append(between - started)
        times["service"].append(time.monotonic() - between)
    return {name: statistics.median(taken) for name, taken in times.items()}


def run_load(port: int, clients: int, requests: int) -> dict:
    command = [sys.executable, __file__, "--load", str(port), str(clients), str(requests)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def load(port: int, clients: int, requests: int) -> dict:
    contents, times, failed, runs, left = images(), [], [], set(), iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in left:
            content = contents[at % len(contents)]
            started = time.monotonic()
            head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            size = int(re.search(rb"content-length: (\d+)", answer)[1])
            body = json.loads(await reader.readexactly(size))
            times.append(time.monotonic() - started)
            runs.add(body.get("run"))
            if b" 200 " not in answer[:16]:
                failed.append(body)
        writer.close()

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.monotonic() - started
    p50, p99 = (float(np.quantile(times, share)) for share in (0.5, 0.99))
    result = {"count": len(times), "failed": len(failed), "why": failed[:3], "runs": sorted(map(str, runs))}
    return result | {"seconds": seconds, "p50": p50, "p99": p99}


def images() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PHOTOS.rglob("*.jpg"))]


def swap_run(home: Path, at: int) -> None:
    shutil.copytree(home / "runs" / "first", home / "runs" / f"next-{at}")
    (home / "runs" / "pointer").symlink_to(f"next-{at}")
    os.replace(home / "runs" / "pointer", home / "runs" / "latest")


def resident(process: int) -> int:
    """Bytes of memory of a process and those it started."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if process in (parent, int(entry.name)):
                total += int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            continue
    return total


if __name__ == "__main__":
    main()
