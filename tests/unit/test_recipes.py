"""The recipes for CI do what they say, run as far as that goes without the services that they are for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.worlds import REPO, managesoft, reconciler, system

CI = REPO / "contrib/ci"
BIN = os.path.dirname(sys.executable)
DESIRED = "deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: v}}\n"


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with a desired state and the snapshot of a host."""
    tmp_path.chmod(0o755)
    root = managesoft(system(tmp_path / "root"))
    made = tmp_path / "work"
    (made / "desired").mkdir(parents=True)
    (made / "snapshots").mkdir()
    (made / "desired/a.yaml").write_text(DESIRED)
    reconciler("observe", made / "desired", "--out", made / "snapshots/one.json", root=root, check=0)
    return made


def shell(script: str, work: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPO), "HOME": str(work), **env}
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def action(work: Path, **more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    output, summary = work / "output", work / "summary"
    output.write_text("")
    environment = {
        "DESIRED": "desired", "SNAPSHOTS": "snapshots", "SIGNERS": "", "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(work), **more,
    }  # fmt: skip
    done = shell(f"bash {CI}/github-action/preview.sh", work, **environment)
    return done, dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_the_action_previews_changes(work: Path) -> None:
    done, told = action(work)
    assert done.returncode == 0, done.stderr
    assert told["code"] == "2" and "file=desired/a.yaml,line=3" in done.stdout
    assert "ini:/etc/x.ini" in Path(told["markdown"]).read_text() and "ini:/etc/x.ini" in (work / "summary").read_text()


def test_the_action_is_red_for_mistakes_and_refusals(work: Path) -> None:
    (work / "desired/a.yaml").write_text(DESIRED.replace("set:", "sett:"))
    done, told = action(work)
    assert done.returncode != 0 and "::error" in done.stdout and "line=4" in done.stdout
    (work / "desired/a.yaml").write_text("deployment: d\nresources:\n  - tree: /opt/nowhere\n    owner: root\n")
    done, told = action(work)
    assert done.returncode != 0 and told["code"] == "3"
    assert "blocked" in Path(told["markdown"]).read_text()


def test_the_action_checks_files_alone_or_says_what_is_missing(work: Path) -> None:
    done, told = action(work, SNAPSHOTS="")
    assert done.returncode == 0 and told["code"] == "0"
    (work / "none").mkdir()
    done, _ = action(work, SNAPSHOTS="none")
    assert done.returncode == 1 and "holds no snapshot" in done.stdout
    (work / "signers").write_text("")
    done, _ = action(work, SIGNERS="signers")
    assert done.returncode != 0


def test_the_workflow_and_the_action_fit() -> None:
    known = loaded(CI / "github-action/action.yml")
    steps = loaded(CI / "github-workflow.yml")["jobs"]["preview"]["steps"]
    used = next(step for step in steps if "github-action" in step.get("uses", ""))
    assert set(used["with"]) <= set(known["inputs"])
    text = (CI / "github-workflow.yml").read_text()
    assert set(re.findall(r"steps\.preview\.outputs\.(\w+)", text)) <= set(known["outputs"])
    given = {name for step in known["runs"]["steps"] for name in step.get("env", {})}
    script = (CI / "github-action/preview.sh").read_text()
    assert {"DESIRED", "SNAPSHOTS", "SIGNERS"} <= given and all(
        f"${name}" in script for name in ("DESIRED", "SNAPSHOTS")
    )
    # What a pull request chose never reaches a shell as text.
    for step in [*known["runs"]["steps"], *steps]:
        assert "${{" not in step.get("run", "")


def test_gitlab(work: Path) -> None:
    jobs = loaded(CI / "gitlab-ci.yml")
    done = shell("\n".join(jobs["validate"]["script"]), work)
    assert done.returncode == 0, done.stderr
    done = shell("\n".join(jobs["preview"]["script"]), work)
    assert done.returncode == 0, done.stderr
    reports = jobs["preview"]["artifacts"]["reports"]
    for name in (*reports.values(), *jobs["preview"]["artifacts"]["paths"]):
        assert (work / name).stat().st_size > 10
    assert '"create": 1' in (work / reports["terraform"]).read_text()


def test_pre_commit(work: Path) -> None:
    hooks = {hook["id"]: hook for hook in loaded(REPO / ".pre-commit-hooks.yaml")}
    used = [hook["id"] for hook in loaded(CI / "pre-commit-config.yaml")["repos"][0]["hooks"]]
    assert set(used) == set(hooks)
    for good, text in ((True, DESIRED), (False, DESIRED.replace("k: v", "k: v, k: w"))):
        (work / "desired/a.yaml").write_text(text)
        for name in used:
            hook = hooks[name]
            assert re.search(hook["files"], "desired/a.yaml") and not re.search(hook["files"], "README.md")
            words = [*hook["entry"].split(), *hook.get("args", [])]
            words += [] if hook.get("pass_filenames") is False else ["desired/a.yaml"]
            assert (shell(" ".join(words), work).returncode == 0) == good, name


def test_the_policy_asks_for_what_plans_have(work: Path) -> None:
    """conftest itself is no part of this machine; that every name it asks for is there can be said without it."""
    import json

    schema = json.loads(reconciler("schema", "plan", check=0).stdout)["properties"]
    text = (CI / "policy.rego").read_text()
    assert set(re.findall(r"input\.(\w+)", text)) <= set(schema)
    transition = set(schema["transitions"]["items"]["properties"])
    assert set(re.findall(r"transition\.(\w+)", text)) <= transition
    assert set(re.findall(r"input\.summary\.(\w+)", text)) <= set(schema["summary"]["properties"])


def test_the_image_has_all_that_it_needs(tmp_path: Path) -> None:
    """What the Containerfile copies is enough to build the package."""
    text = (CI / "Containerfile").read_text()
    source = tmp_path / "src"
    source.mkdir()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    for name in (name for names in copied for name in names):
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, source]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("host_reconciler-*.whl"))
    assert "USER 65532" in text


def test_snapshots_have_a_published_shape(work: Path) -> None:
    import json

    schema = json.loads(reconciler("schema", "snapshot", check=0).stdout)
    told = json.loads((work / "snapshots/one.json").read_text())
    assert set(schema["required"]) == set(told)
    assert set(schema["properties"]["observed"]["required"]) == set(told["observed"])
    assert set(schema["properties"]["log"]["required"]) == set(told["log"])
