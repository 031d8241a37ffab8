"""One stack in containers, driven as its users drive it: by Compose and the Docker client.

Everything has a name of its own, so that a stack beside it is left alone: the project's, the
images' and the secrets' folder. Covers no second machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = "answermill-test"

_COMMAND_SECONDS = 900  # the longest builds images
_GRACE_SECONDS = 60
_READY_SECONDS = 300


def command(*words: str, check: bool = True, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it prints is told if it fails."""
    options = {"capture_output": True, "encoding": "utf-8", "timeout": _COMMAND_SECONDS} | kwargs
    done = subprocess.run(words, check=False, **options)
    if check and done.returncode != 0:
        said = f"{done.stdout or ''}\n{done.stderr or ''}".strip()
        msg = f"{' '.join(words)}: exit status {done.returncode}\n{said[-4000:]}"
        raise AssertionError(msg)
    return done


def docker(*words: str, **kwargs: object) -> str:
    """Run a command of the Docker client that must succeed; return what it printed."""
    return command("docker", *words, **kwargs).stdout.strip()


def compose_words() -> list[str]:
    """Return how Compose is called here: as a plug-in of the client, or the old program."""
    plugin = command("docker", "compose", "version", check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return [shutil.which("docker-compose") or "docker-compose"]


def wait_for(
    condition: Callable[[], object], seconds: float, tell: Callable[[], object] = str
) -> None:
    """Wait until it is so, or fail."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not within {seconds} s: {tell()}"
        time.sleep(0.5)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what `check` has found, by what was probed."""
    found = re.findall(r"^(ok|fault) +(\w+) +(.*)$", done.stdout, re.MULTILINE)
    return {probe: sentence for told, probe, sentence in found if told == "fault"}


class Project:
    """A stack: its Compose project and what may be asked of it."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        self.name = name
        self.secrets = folder / "secrets"
        self.environment = {
            "COMPOSE_PROJECT_NAME": name,
            "ANSWERMILL_IMAGE": IMAGES,
            "SECRETS": str(self.secrets),
            "FLOWER_PORT": str(free_port()),
            "WEB_PORT": str(free_port()),
            **environment,
        }
        self._compose = compose_words()

    @property
    def process_environment(self) -> dict[str, str]:
        """What a process that knows this stack has in its environment."""
        return {**os.environ, **self.environment}

    def with_secrets(self, folder: Path) -> Project:
        """Return the same stack as a caller sees it whose secrets are in another folder."""
        folder.mkdir(mode=0o755)
        changed = Project(self.name, folder.parent, **self.environment)
        changed.environment["SECRETS"] = str(folder)
        return changed

    def read(self, secret: str) -> str:
        """Return a secret."""
        return (self.secrets / secret).read_text()

    def write(self, secret: str, text: str) -> None:
        """Put a secret, for the services' users to read."""
        path = self.secrets / secret
        path.write_text(text)
        path.chmod(0o444)

    def make_secrets(self) -> None:
        """Make every password."""
        command("sh", "deploy/secrets", str(self.secrets), cwd=ROOT)

    def compose(self, *words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a command of Compose."""
        return command(*self._compose, *words, cwd=ROOT, env=self.process_environment, **kwargs)

    def script(self, name: str, *words: str) -> None:
        """Run a program of deploy/ on this stack."""
        environment = {**self.process_environment, "COMPOSE": " ".join(self._compose)}
        command("sh", f"deploy/{name}", *words, cwd=ROOT, env=environment)

    def up(self) -> None:
        """Bring all of it up, with one worker that has loaded its model."""
        self.compose("up", "-d")
        self.wait_for_workers(1)

    def scale(self, workers: int) -> None:
        """Let so many workers work."""
        words = ["--no-deps", "--no-recreate", "--scale", f"worker={workers}", "worker"]
        self.compose("up", "-d", *words)

    def containers(self, service: str) -> list[str]:
        """Return the ids of the service's running containers."""
        return docker(
            "ps",
            "-q",
            "--no-trunc",
            f"--filter=label=com.docker.compose.project={self.name}",
            f"--filter=label=com.docker.compose.service={service}",
            "--filter=label=com.docker.compose.oneoff=False",
        ).split()

    def everything(self) -> list[str]:
        """Return the ids of all containers, those that have ended included."""
        return docker(
            "ps", "-aq", "--no-trunc", f"--filter=label=com.docker.compose.project={self.name}"
        ).split()

    def wait_for_log(self, container: str, text: str, seconds: float = 60) -> None:
        """Wait until a container has said something."""

        def said() -> str:
            done = command("docker", "logs", container)
            return done.stdout + done.stderr

        wait_for(lambda: text in said(), seconds, said)

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have loaded their model."""
        containers = self.containers("worker")
        assert len(containers) == count
        for container in containers:
            self.wait_for_log(container, '"model loaded"', _READY_SECONDS)

    def producer(
        self, *words: str, settings: dict[str, object] | None = None, **kwargs: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Answermill in the producer's container."""
        done = self.once("producer", *words, settings=settings, **kwargs)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def once(
        self,
        service: str,
        *words: str,
        settings: dict[str, object] | None = None,
        options: Iterable[str] = (),
        **kwargs: object,
    ) -> subprocess.CompletedProcess[str]:
        """Run a service's image once, with other words and settings, to whatever end."""
        given = [f"-eANSWERMILL_{name}={value}" for name, value in (settings or {}).items()]
        run = ["run", "--rm", "-T", "--no-deps", *options, *given, service]
        return self.compose(*run, *words, check=False, **kwargs)

    def begin_model(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command under `answermill model` in its container."""
        run = ["run", "--rm", "-T", "--no-deps", "--entrypoint", "answermill", "model", "model"]
        return subprocess.Popen(
            [*self._compose, *run, *words],
            cwd=ROOT,
            env=self.process_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sql(self, query: str) -> list[list[str]]:
        """Ask the database; return its rows as texts."""
        words = ["psql", "-U", "answermill", "-At", "-F", "\t", "-c", query]
        done = self.compose("exec", "-T", "postgres", *words)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def number(self, query: str) -> int:
        """Ask the database for one number."""
        ((found,),) = self.sql(query)
        return int(found)

    def answers(self, query: str) -> bool:
        """Tell whether the database answers."""
        words = ["psql", "-U", "answermill", "-Atc", query]
        done = self.compose("exec", "-T", "postgres", *words, check=False)
        return done.returncode == 0

    def inspect(self, containers: Iterable[str]) -> list[dict]:
        """Return what the engine knows of the containers."""
        return json.loads(docker("inspect", *containers))

    def stop(self) -> None:
        """Stop and remove the containers; what is stored stays."""
        self.compose("down", "-t", str(_GRACE_SECONDS))

    def remove(self) -> None:
        """Remove all of it, what is stored as well."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5", check=False)
