"""Print the tests whose exhaustive cases concern the changes since origin/main, or else those of the last commit."""

import re
import subprocess
import sys
from pathlib import Path
from zlib import crc32

ROOT = Path(__file__).parents[1]
MODELS = "testing models distributions nn metrics penalties samplers test_contract.py test_training.py"
MODELS += " test_conditional_vae.py test_missing.py test_pretrained.py test_config_cycle.py test_doctests.py"
MODELS += " callbacks/test_latent_scatter.py cli/test_sample.py cli/test_export.py cli/test_latent_diffusion.py"
MODELS += " evaluation cli/test_doctor.py test_speed_options.py test_lazy.py test_examples.py"
MODELS += " test_batch_sizes.py test_combination.py test_decomposition.py test_elbo.py test_free_bits.py test_older.py"
MODELS += " test_scaling.py test_users_view.py test_importance.py"
RUNS = "callbacks training ranks models/test_two_ranks.py test_training.py test_resume_matrix.py test_two_processes.py"
RUNS += " test_loggers.py cli/test_sweep_agents.py test_speed_options.py test_*s_benchmark.py data/test_resume.py"
RUNS += " cli/test_faults.py cli/test_ranks.py cli/test_run_loggers.py cli/test_precedence.py"
FILES = "security checkpoints test_pretrained.py test_contract.py test_older.py"
AREAS = {
    r"vae_zoo/(models|elbo|distributions|nn|penalties|metrics|evaluation|samplers|testing)/": MODELS,
    r"vae_zoo/(functional|typing)\.py": MODELS,
    r"vae_zoo/(training|callbacks|system)/|vae_zoo/loggers": RUNS,
    r"vae_zoo/(security|checkpoints)/|vae_zoo/hub": FILES,
    r"vae_zoo/cli/": "cli security",
    r"vae_zoo/data/": "data security/test_files.py test_configs.py test_scaling.py cli/test_doctor.py",
    r"vae_zoo/export/": "export cli/test_export.py cli/test_latent_diffusion.py",
    r"vae_zoo/weights/": "cli/test_weights.py test_packaging.py",
    r"configs/": "test_config*.py cli/test_sweep*.py",
    r"docs/|README": "test_docs.py test_examples.py test_notebooks.py",
    r"benchmarks/": "test_*_benchmark.py test_gpu.py test_reproduce.py cli/test_ranks.py",
    r"pyproject\.toml": "test_packaging.py",
}
"""Folders and files of tests by the paths that they test; a changed file of tests is always included."""


def git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def changed() -> list[str]:
    """Paths that differ from where the branch left origin/main; empty without a history."""
    for base in ("origin/main", "HEAD~1"):
        try:
            start = git("merge-base", base, "HEAD")
            if start != git("rev-parse", "HEAD"):
                return git("diff", "--name-only", start).splitlines()
        except (OSError, subprocess.CalledProcessError):
            continue
    print("no history to compare with: exhaustive cases are left out", file=sys.stderr)
    return []


def tests(paths: list[str]) -> list[str]:
    """Files and folders of tests."""
    found = {path for path in paths if re.match(r"tests/.*test_\w+\.py$", path) and (ROOT / path).exists()}
    for pattern, globs in AREAS.items():
        if any(re.match(pattern, path) for path in paths):
            found |= {str(path.relative_to(ROOT)) for glob in globs.split() for path in (ROOT / "tests").glob(glob)}
    return sorted(found)


def in_turn(found: list[str], paths: list[str]) -> list[str]:
    """Changed tests first, then the others, in an order of the commit: there may be no time for all of them."""
    commit = git("rev-parse", "HEAD") if found else ""
    return sorted(found, key=lambda path: (path not in paths, crc32(f"{commit} {path}".encode())))


if __name__ == "__main__":
    paths = changed()
    print("\n".join(in_turn(tests(paths), paths)))
