"""Private names of other packages: each is listed with its reason and the releases that it was checked with."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

import vae_zoo

PACKAGE = Path(vae_zoo.__file__).parent
OTHERS = ("jsonargparse", "lightning", "litdata", "optuna", "rich", "shtab", "torch", "torchmetrics", "wandb", "zuko")
PUBLIC = {"_asdict", "_replace", "_exit"}  # of named tuples and os, documented under these names
CHECKED = {"lightning": "2.6.6", "jsonargparse": "4.53.0", "torch": "2.14.1"}
"""Newest releases with which every name below was looked at: the suite passes, and a fault in one of them is seen."""

KEPT = {
    # Lightning
    "_LRCallback": "a search for a learning rate has no other mark, and ends where the loss breaks",
    "_SubprocessScriptLauncher": "DDP starts its processes by it, and there is no hook between them",
    "_call_children_scripts": "as above",
    "_set_num_threads_if_needed": "the first of these processes takes its share of the cores, as the others do",
    "_default_map_location": "a checkpoint of a GPU is read where there is none",
    "_evaluation_loop": "validation, test and the validation within a fit have three public names",
    "_is_sequential": "several loaders are read one after another or in parallel",
    "_last_checkpoint_saved": "a run may write over its own last file",
    "_load_state": "builds a model from what was read; the public method reads the file again",
    "_monitor_candidates": "what a file name may hold",
    "_original_handlers": "a signal goes to whoever had it before Lightning",
    "_remove_checkpoint": "what was best before an annealing has ended is removed as Lightning removes files",
    "_save_none_monitor_checkpoint": "saves now, between the places where Lightning saves",
    "_should_skip_saving_checkpoint": "as above",
    "_signal_connector": "its handler ends a run with exit code 0",
    "_should_accumulate": "within an accumulated step nothing resumes exactly",
    "_num_ready_batches_reached": "before the end of an epoch nothing resumes exactly",
    "_should_check_val_fx": "before a validation nothing resumes exactly",
    "_data_fetcher": "an argument of the line above",
    "_subcommand_parsers": "the checkpoint's values become defaults of one verb",
    "_use_buffers": "averages of whole numbers are refused",
    # jsonargparse and argparse
    "_actions": "a parser's options have no public list",
    "_common": "the policy of what may be imported has no public way back",
    "_config_read_mode": "put back with the policy",
    "_optionals": "as above",
    "_typehints": "classes are checked where the parser resolves them",
    "_util": "as above",
    # torch
    "_dynamo": "counts graphs in the conformance suite, under the name that torch's own documentation uses",
    "_extended_shape": "distributions that derive from torch's are meant to call it",
    "_optimizer_step_post_hooks": "a hook is registered once, whoever has made the optimizer",
    "_python_dispatch": "the documented place of TorchDispatchMode",
    "_pytree": "arguments of any nesting; there is no public name before torch 2.15",
    # others
    "_add_item": "litdata: writes a shard without its own processes",
    "_connection": "wandb: its service would wait for the server once more at the end",
    "_inverse": "zuko: the inverse of a transform with its log determinant",
    "_offline": "wandb: whether the logger was asked to be offline",
    "_proc": "wandb: as above",
    "_process": "wandb: as above",
    "_record_new_keys": "Lightning: the header of metrics.csv",
    "_reductions": "torchmetrics: features are gathered before processes compare their numbers",
}


def names(tree: ast.AST) -> set[str]:
    """Private attributes that are read, and private parts of what is imported from other packages."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OTHERS:
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def own(tree: ast.AST) -> set[str]:
    """Names that a file defines itself."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_each_has_a_reason() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    ours = set().union(*map(own, trees.values())) - KEPT.keys()
    used = {name: path for path, tree in trees.items() for name in names(tree) - ours - PUBLIC}
    assert not {name: str(path) for name, path in used.items() if name not in KEPT}
    assert not KEPT.keys() - used.keys(), "no longer used: take it from the list"


@pytest.mark.parametrize("package", CHECKED)
def test_the_release_is_one_that_was_checked(package: str) -> None:
    """Fails with a newer minor release: look at the names of the package above, then write it down here."""
    installed, checked = Version(version(package)), Version(CHECKED[package])
    assert (installed.major, installed.minor) <= (checked.major, checked.minor)


def test_one_is_seen() -> None:
    assert names(ast.parse("from torch._dynamo import x\ntrainer._loop.a._b")) == {"_dynamo", "_loop", "_b"}
    assert own(ast.parse("self._a = 1\ndef _b(): pass\n_c = 2")) == {"_a", "_b", "_c"}
