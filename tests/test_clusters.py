"""The files of docs/clusters/: what cannot be run here is held to its schema, the scripts run with stand-ins.

The scripts are really run, with Ray, by tests/test_namespaces.py.
"""

import copy
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs" / "clusters"
SCRIPTS = ("head.sh", "worker.sh", "node.sh", "slurm.sbatch")


def launcher_schema() -> dict[str, Any]:
    """Ray's own."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "autoscaler" / "ray-schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def job_schema() -> dict[str, Any]:
    return json.loads((ROOT / "tests" / "data" / "rayjob.schema.json").read_text(encoding="utf-8"))


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTERS / name).read_text(encoding="utf-8")))


def aws() -> dict[str, Any]:
    (found,) = read("aws.yaml")
    return found


def ray_job() -> dict[str, Any]:
    return next(each for each in read("kuberay.yaml") if each["kind"] == "RayJob")


def test_the_launcher_takes_aws_yaml() -> None:
    """As Ray's own schema says; the head exists, and of each kind of worker one stays, to see what fits."""
    file = aws()
    jsonschema.validate(file, launcher_schema())
    assert file["head_node_type"] in file["available_node_types"]
    workers = [each for name, each in file["available_node_types"].items() if name != file["head_node_type"]]
    assert all(each["min_workers"] == 1 for each in workers)
    assert sum(each["max_workers"] for each in workers) == file["max_workers"]


def test_the_launcher_asks_for_the_token() -> None:
    """On every node, from a file that is copied there; its dashboard is on loopback."""
    file = aws()
    assert file["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert any("chmod 600 ~/.ray/auth_token" in each for each in file["setup_commands"])
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        (command,) = file[commands]
        assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in command
    assert "--dashboard-host=127.0.0.1" in file["head_start_ray_commands"][0]


def test_kubernetes_takes_kuberay_yaml() -> None:
    """As the schema says that was written from KubeRay's reference; what is mounted is there."""
    job = ray_job()
    jsonschema.validate(job, job_schema())
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {each["name"] for each in pod["volumes"]}
        assert {each["name"] for container in pod["containers"] for each in container["volumeMounts"]} == volumes
        assert "results" in volumes
    claim = next(each for each in read("kuberay.yaml") if each["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_kubernetes_asks_for_the_token_and_submits_again() -> None:
    """The token comes from a Secret; a lost head costs another try; a job that is stopped ends in order."""
    job = ray_job()
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ablate-token"}
    assert job["spec"]["backoffLimit"] > 0
    assert all(group["minReplicas"] == group["replicas"] for group in cluster["workerGroupSpecs"])
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert environment["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert environment["ABLATE_JOB"] == job["spec"]["jobId"]
    assert all(isinstance(value, str) for value in environment.values())


def test_the_entrypoint_is_a_command_of_ours() -> None:
    """With options that `ablate run` has."""
    words = ray_job()["spec"]["entrypoint"].split()
    assert words[:4] == ["python", "-m", "ablations.cli", "run"]
    ended = subprocess.run(
        [sys.executable, "-m", "ablations.cli", "run", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert all(word in ended.stdout for word in words if word.startswith("--"))


@pytest.mark.parametrize(
    ("schema", "file", "spoil"),
    [
        (launcher_schema, aws, lambda file: file.update(min_workers=1)),
        (launcher_schema, aws, lambda file: file["available_node_types"]["gpu"].pop("resources")),
        (job_schema, ray_job, lambda file: file["spec"].update(backofLimit=3)),
        (job_schema, ray_job, lambda file: file["spec"]["rayClusterSpec"]["headGroupSpec"].pop("template")),
        (
            job_schema,
            ray_job,
            lambda file: file["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        ),
    ],
)
def test_the_schemas_can_refuse(
    schema: Callable[[], dict], file: Callable[[], dict], spoil: Callable[[dict], object]
) -> None:
    spoilt = copy.deepcopy(file())
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema())


def test_no_recipe_ends_a_ray_that_it_did_not_start() -> None:
    """Nor does any show a secret, or open the dashboard without a token."""
    for path in CLUSTERS.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bray\s+stop\b", text), path
        assert "RAY_AUTH_MODE=disabled" not in text
        assert not re.search(r"\b[0-9a-f]{32,}\b", text)
    assert {path.name for path in CLUSTERS.iterdir()} >= {*SCRIPTS, "aws.yaml", "kuberay.yaml", "ablate-ray@.service"}


def test_the_recipes_and_the_project_name_the_same_ray() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert ray_job()["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_sound(name: str) -> None:
    """For bash, and for ShellCheck where it is installed."""
    subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=True)
    if checker := shutil.which("shellcheck"):
        ended = subprocess.run([checker, "-x", str(CLUSTERS / name)], capture_output=True, text=True, cwd=ROOT)
        assert ended.returncode == 0, ended.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_takes_the_service(tmp_path: Path) -> None:
    """As a head and as a worker."""
    text = (CLUSTERS / "ablate-ray@.service").read_text(encoding="utf-8")
    (tmp_path / "clusters").symlink_to(CLUSTERS)  # whose own path may have a blank
    unit = text.replace("/opt/ablate/docs/clusters", str(tmp_path / "clusters"))
    assert unit.count(str(tmp_path / "clusters")) == 1
    for role in ("head", "worker"):
        (tmp_path / f"ablate-ray@{role}.service").write_text(unit)
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / f"ablate-ray@{role}.service")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        ours = [line for line in ended.stderr.splitlines() if "ablate-ray" in line]
        assert not ours, ours
    assert "Restart=always" in text


# The scripts, with stand-ins -----------------------------------------------------------------------------------------


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A home folder, and a `ray` that says how it was called."""
    (tmp_path / "home").mkdir()
    program(tmp_path / "bin", "ray", 'echo "ray $*"; env | grep -i "^RAY_" | sort; echo "files $(ulimit -n)"')
    return tmp_path


def call(site: Path, script: str, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(site / "home"), "BIN": str(site / "bin")} | more
    return subprocess.run(
        [str(CLUSTERS / script), *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_head_makes_its_token_and_asks_for_it(site: Path) -> None:
    """For its owner's eyes alone, once; the dashboard on loopback, lost nodes noticed in half a minute."""
    ended = call(site, "head.sh", "10.0.0.1", "--num-cpus=0")
    token = site / "home" / ".ray" / "auth_token"
    assert ended.returncode == 0, ended.stderr
    assert token.stat().st_mode & 0o777 == 0o600
    made = token.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", made)
    assert "ray start --head --block" in ended.stdout
    assert "--node-ip-address=10.0.0.1 --port=6379 --dashboard-host=127.0.0.1" in ended.stdout
    assert ended.stdout.splitlines()[0].endswith("--num-cpus=0")
    assert "RAY_AUTH_MODE=token" in ended.stdout
    assert f"RAY_AUTH_TOKEN_PATH={token}" in ended.stdout
    assert "RAY_health_check_failure_threshold=4" in ended.stdout
    assert made not in ended.stdout + ended.stderr
    assert call(site, "head.sh", "10.0.0.1").returncode == 0
    assert token.read_text() == made


def test_a_worker_joins_with_the_token_of_the_head(site: Path) -> None:
    """It makes none: one of its own would let it join nothing."""
    ended = call(site, "worker.sh", "10.0.0.1:6379", "10.0.0.2")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "there is no token; copy it from the head" in ended.stderr
    call(site, "head.sh", "10.0.0.1")
    ended = call(site, "worker.sh", "10.0.0.1:6379", "10.0.0.2", "--num-gpus=8", RAY_AUTH_TOKEN="another")
    assert "--address=10.0.0.1:6379 --node-ip-address=10.0.0.2 --num-gpus=8" in ended.stdout
    assert "RAY_AUTH_TOKEN=" not in ended.stdout


def test_a_token_that_others_can_read_starts_nothing(site: Path) -> None:
    call(site, "head.sh", "10.0.0.1")
    (site / "home" / ".ray" / "auth_token").chmod(0o644)
    for script in (["head.sh", "10.0.0.1"], ["worker.sh", "10.0.0.1:6379", "10.0.0.2"]):
        ended = call(site, *script)
        assert ended.returncode == 2
        assert "chmod 600" in ended.stderr
        assert "ray start" not in ended.stdout


@pytest.mark.parametrize("script", ["head.sh", "worker.sh"])
def test_a_script_says_how_it_is_called(site: Path, script: str) -> None:
    ended = call(site, script)
    assert ended.returncode != 0
    assert "usage:" in ended.stderr


PYTHON = f"""
case "$1 $2" in
"-c "*ray.init*) echo 3 ;;
*) exec {shlex.quote(sys.executable)} "$@" ;;
esac
"""
DRIVER = """
import os, pathlib, sys, time
site = pathlib.Path(os.environ["SITE"])
(site / "driver").write_text(" ".join(sys.argv[1:]) + "\\n")
try:
    (site / "driving").touch()
    time.sleep(float(os.environ.get("DRIVE_SECONDS", "0")))
except KeyboardInterrupt:
    with (site / "driver").open("a") as told:
        told.write("interrupted\\n")
    sys.exit(130)
sys.exit(int(os.environ.get("DRIVE_CODE", "0")))
"""
SRUN = """
echo "$*" >>"$SITE/srun"
host= words=()
for word in "$@"; do
    case $word in
    --nodelist=*) host=${word#--nodelist=} ;;
    --*) [ ${#words[@]} = 0 ] || words+=("$word") ;;
    *) words+=("$word") ;;
    esac
done
if [ "${words[0]}" = hostname ]; then echo "fe80::1 10.0.0.${host#node}"; exit; fi
echo "$host $PORT ${words[*]##*/} token=$(stat -c %a "$RAY_AUTH_TOKEN_PATH")" >>"$SITE/started"
trap 'echo "$host" >>"$SITE/ended"; exit' TERM
while :; do sleep 0.05; done
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An allocation of three nodes, and programs that write down how they were called."""
    (tmp_path / "home").mkdir()
    program(tmp_path / "bin", "python", PYTHON)
    (tmp_path / "ablations").mkdir()  # in place of ours
    (tmp_path / "ablations" / "__init__.py").touch()
    (tmp_path / "ablations" / "cli.py").write_text(DRIVER)
    program(tmp_path / "path", "srun", SRUN)
    program(tmp_path / "path", "scontrol", 'echo "$*" >>"$SITE/scontrol"; [ "$1" != show ] || printf "node%s\\n" 1 2 3')
    return {
        "PATH": f"{tmp_path / 'path'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "SITE": str(tmp_path),
        "REPOSITORY": str(ROOT),
        "BIN": str(tmp_path / "bin"),
        "SLURM_JOB_ID": "421",
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }


def test_slurm_starts_a_head_and_its_workers(slurm: dict[str, str]) -> None:
    """Each on its node, with a token of the job alone; the driver gets the words behind the script, its end is ours."""
    site = Path(slurm["SITE"])
    command = [str(CLUSTERS / "slurm.sbatch"), "cifar10-depth", "--results", "/shared/my results"]
    environment = slurm | {"DRIVE_CODE": "1"}
    ended = subprocess.run(
        ["bash", *command], env=environment, capture_output=True, text=True, timeout=60, cwd=site, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "3 of 3 nodes joined 10.0.0.1:20421" in ended.stdout
    started = sorted((site / "started").read_text().splitlines())
    assert started[0].startswith("node1 20421 head.sh 10.0.0.1 token=600")
    assert [line.split()[0] for line in started] == ["node1", "node2", "node3"]
    assert "worker.sh 10.0.0.1:20421 10.0.0.3" in started[2]
    assert (
        site / "driver"
    ).read_text().strip() == "run cifar10-depth --results /shared/my results --address 10.0.0.1:20421"
    assert not list((site / "home" / ".ray").iterdir()), "the token is removed"
    assert "requeue" not in (site / "scontrol").read_text()
    until = time.monotonic() + 20
    while sorted((site / "ended").read_text().split() if (site / "ended").exists() else []) != [
        "node1",
        "node2",
        "node3",
    ]:
        assert time.monotonic() < until, "nodes go on"
        time.sleep(0.05)


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_slurm_lets_the_run_end_in_order(slurm: dict[str, str], sent: signal.Signals, requeued: bool) -> None:
    """Before the time is over it is interrupted and queued again; a job that is cancelled is not."""
    site = Path(slurm["SITE"])
    process = subprocess.Popen(
        ["bash", str(CLUSTERS / "slurm.sbatch"), "cifar10-depth", "--results", "/r"],
        env=slurm | {"DRIVE_SECONDS": "30"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=site,
    )
    try:
        until = time.monotonic() + 30
        while not (site / "driving").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(sent)
        assert process.wait(timeout=30) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (site / "driver").read_text().endswith("interrupted\n")
    assert ("requeue 421" in (site / "scontrol").read_text()) is requeued
