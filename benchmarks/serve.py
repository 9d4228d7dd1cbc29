"""`solfa serve` under load, through HTTP on this machine: latencies, refusals, memory.

    python benchmarks/synthetic_collection.py BIG --tracks 100000 --hop-s 3 --space SPACE   # as --space prints it
    python benchmarks/serve.py BIG                                   # one client, then 50 users, then abuse
    python benchmarks/serve.py BIG --index MUSIC                     # the same while a folder is indexed into it
    python benchmarks/serve.py BIG --chromium /usr/bin/chromium      # how long until the first hit is on the screen

Each user sends a query, waits for the answer, thinks for --think-s seconds on average (exponential), and goes on;
queries are drawn with a seed. Memory is that of the server process without its workers: `anonymous`, and `resident`,
which also counts the pages of mapped files that the system may drop. Abuse: 200 connections that never finish a
request, 10,000 malformed requests; a client of good will searches meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np

QUERIES = ("slow waltz in D minor, no vocals", "fast electronic music with a female voice", "120 bpm house, Am-F-C-G",
           "calm piano at the start", "guitar and drums, 3/4", "blue river", "dark ambient, longer than 3 minutes",
           "jazz with saxophone in F major", "angry metal, 160-180 bpm", "choir, quiet")  # fmt: skip
REFINED = ("in {key}", "around {bpm} bpm", "no drums", "with strings", "in 4/4", "happy", "live")


def query(draw: random.Random) -> str:
    """A query that has hardly been asked before."""
    more = draw.choice(REFINED).format(key=f"{draw.choice('CDEFGAB')} {draw.choice(('major', 'minor'))}",
                                       bpm=draw.randint(60, 180))  # fmt: skip
    return f"{draw.choice(QUERIES)}, {more}"


class Server:
    """The server process over a collection."""

    def __init__(self, collection: Path, folders: list[Path], *options: str) -> None:
        command = [sys.executable, "-m", "solfa", "serve", *map(str, folders), "--collection", str(collection),
                   "--port", "0", *options]  # fmt: skip
        began_s = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[2].rstrip("/;")
        self.start_s = time.perf_counter() - began_s
        while httpx.get(f"{self.url}/readyz", timeout=60).status_code == 503:
            time.sleep(0.05)
        self.ready_s = time.perf_counter() - began_s

    def memory_mb(self) -> dict[str, float]:
        """Of the process itself."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kb = {name: int(value) for name, value in re.findall(r"(VmRSS|RssAnon|VmHWM):\s+(\d+)", status)}
        return {"anonymous": kb["RssAnon"] / 1000, "resident": kb["VmRSS"] / 1000, "peak": kb["VmHWM"] / 1000}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def users(url: str, count: int, seconds: float, think_s: float, seed: int) -> dict[str, object]:
    """Latencies of so many users in milliseconds, and what else than 200 they were answered."""
    took_ms: list[float] = []
    other: dict[int | str, int] = {}
    until_s = time.monotonic() + seconds

    def user(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.monotonic() < until_s:
                if think_s:
                    time.sleep(draw.expovariate(1 / think_s))
                began_s = time.perf_counter()
                try:
                    status: int | str = client.get("/api/v1/search", params={"q": query(draw)}).status_code
                except httpx.HTTPError as error:
                    status = type(error).__name__
                if status == 200:
                    took_ms.append(1000 * (time.perf_counter() - began_s))
                else:
                    other[status] = other.get(status, 0) + 1

    threads = [threading.Thread(target=user, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99, most = np.quantile(took_ms, [0.5, 0.99, 1.0]) if took_ms else (float("nan"),) * 3
    return {"searches": len(took_ms), "per_s": round(len(took_ms) / seconds, 1), "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1), "most_ms": round(most, 1), "other": other}  # fmt: skip


def abuse(url: str, seed: int) -> dict[str, object]:
    """What a client of good will gets during slow and malformed requests, and what those were answered."""
    host, port = url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(200)]
    for one in slow:
        one.sendall(b"GET /api/v1/search?q=slow HTTP/1.1\r\nHost: ")
    draw, answers, found = random.Random(seed), dict[str, int](), list[dict[str, object]]()
    good = threading.Thread(target=lambda: found.append(users(url, 1, 20.0, 0.05, seed)))
    good.start()
    for number in range(10_000):
        kind, noise = number % 5, draw.randbytes(draw.randint(1, 200))
        head = (
            b"GET /api/v1/search?q=" + noise.hex().encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        )
        data = [noise + b"\r\n\r\n", head + noise + b"\r\n\r\n", head.replace(b"Host", b"H\xffst") + b"\r\n",
                head.replace(b"GET", b"BREW") + b"Content-Length: -1\r\n\r\n",
                head.replace(b"/api/v1/search", b"/api/v1/tracks/../../%2e%2e/etc/passwd") + b"\r\n"][kind]  # fmt: skip
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                said = connection.recv(100)
            except OSError as error:
                said = type(error).__name__.encode()
        answer = said[:12].decode("latin-1") or "closed"
        answers[answer] = answers.get(answer, 0) + 1
    good.join()
    for one in slow:
        one.close()
    return {"meanwhile": found[0], "answers": answers}


def painted(url: str, chromium: str, times: int = 9) -> tuple[list[float], list[float]]:
    """Milliseconds to the first hit on the screen: from the address, each in a fresh browser profile; and of a further
    search in the page that is open then."""
    from playwright.sync_api import sync_playwright

    watch = """new MutationObserver((_, observer) => {
        if (!document.querySelector('.hit')) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => { window.paintedMs = performance.now(); }));
    }).observe(document, {childList: true, subtree: true})"""
    again = """query => new Promise((done) => {
        const began = performance.now();
        document.querySelectorAll('.hit').forEach((hit) => { hit.dataset.before = 1; });
        new MutationObserver((_, observer) => {
            if (!document.querySelector('.hit:not([data-before])')) return;
            observer.disconnect();
            requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
        }).observe(document, {childList: true, subtree: true});
        location.hash = '#/?q=' + encodeURIComponent(query);
    })"""
    found, further = [], []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        for number in range(times + 1):  # the first one starts processes of the browser
            context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=url)
            page = context.new_page()
            page.add_init_script(watch)
            page.goto(f"/#/?q={QUERIES[number % len(QUERIES)]}")
            page.locator(".hit").first.wait_for()
            page.wait_for_timeout(1000)
            found.append(float(page.evaluate("window.paintedMs")))
            further.append(float(page.evaluate(again, f"{QUERIES[number % len(QUERIES)]}, in {60 + number} bpm")))
            context.close()
    return found[1:], further[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, nargs="?")
    parser.add_argument("--index", type=Path, action="append", default=[], help="Index this folder meanwhile.")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--think-s", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-abuse", action="store_true")
    parser.add_argument("--chromium", help="Only measure the first hit on the screen, with this browser (playwright).")
    parser.add_argument("--space", action="store_true", help="Print the space of the default model, and end.")
    args = parser.parse_args()
    if args.space:
        from solfa.api import DEFAULT_MODEL
        from solfa.encoders.registry import load_model

        print(load_model(DEFAULT_MODEL).space)
        return
    server = Server(args.collection, args.index)
    print(f"page after {server.start_s:.1f} s, ready after {server.ready_s:.1f} s, {server.memory_mb()}", flush=True)
    try:
        if args.chromium:
            names = ("from the address", "in the open page")
            for name, took_ms in zip(names, painted(server.url, args.chromium), strict=True):
                print(f"first hit painted {name}, ms: {sorted(map(round, took_ms))}, p50 {np.median(took_ms):.0f}")
            return
        if not args.index:
            alone = users(server.url, 1, args.seconds, 0.0, args.seed)
            print("one client:", json.dumps(alone), server.memory_mb(), flush=True)
        memory = []
        crowd = threading.Thread(target=lambda: print(f"{args.users} users:", json.dumps(
            users(server.url, args.users, args.seconds, args.think_s, args.seed))))  # fmt: skip
        crowd.start()
        while crowd.is_alive():
            crowd.join(args.seconds / 6)
            memory.append(round(server.memory_mb()["anonymous"]))
        job = httpx.get(f"{server.url}/api/v1/status", timeout=60).json()["job"]
        done = job and {name: job[name] for name in ("state", "done", "total", "failed")}
        print("anonymous MB over the time:", memory, "indexed:", done, flush=True)
        if not args.no_abuse:
            print("abuse:", json.dumps(abuse(server.url, args.seed)), server.memory_mb())
    finally:
        print("exit code", server.stop())


if __name__ == "__main__":
    main()
