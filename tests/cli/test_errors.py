"""Mistakes of users: exit code 2, one line with what is wrong, where and what to do, and nothing written."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from short import few

from vae_zoo.cli.errors import WIDTH, explain, one_line

FIT = "fit --model BetaVAE --data Digits "
ARRAYS = "fit --model VAE --data Arrays --data.path "

FOLDER = "fit --model VAE --data ImageFolder --data.folder "

GROUPS = [("trainer", "5"), ("trainer", "[1]"), ("checkpoint", "[1]"), ("last", "[1]"), ("nan", "-5")]
GUESSES = [
    ("optimizer", "model.optimizer"),
    ("optimizer.lr", "model.optimizer.lr"),
    ("lr_scheduler", "model.scheduler"),
    ("epochs", "trainer.max_epochs"),
    ("max_epochs", "trainer.max_epochs"),
    ("lr", "model.optimizer.lr"),
    ("batch_size", "data.batch_size"),
    ("gpus", "trainer.devices"),
    ("latent_dim", "model.latent_dim"),
]
CATALOGUE = [
    ("", "subcommand"),
    ("fti", "there is no verb fti, did you mean fit?"),
    ("install", "there is no verb install: there is fit, validate"),
    ("--versoin", "there is no option --versoin, did you mean --version?"),
    ("fit", "missing: fit.data, fit.model"),
    ("fit --model BetaVAE", "missing: fit.data"),
    ("fit --model BetaVEA --data Digits", "model: there is no class BetaVEA, did you mean BetaVAE?"),
    ("fit --model BetaVAE --data Digit", "data: there is no class Digit, did you mean Digits?"),
    (FIT + "--model.betta 4", "model: unknown key betta, did you mean beta?"),
    (FIT + "--model.encoder Densee", "model.encoder: there is no class Densee, did you mean Dense?"),
    (FIT + "--model.encoder.hiden [9]", "model.encoder: unknown key hiden, did you mean hidden?"),
    (FIT + "--data.batch_sise 4", "data: unknown key batch_sise, did you mean batch_size?"),
    (FIT + "--matmul_precision low", "matmul_precision: expected 'highest' or 'high' or 'medium', got low"),
    (FIT + "--data.device_data sometimes", "data.device_data: expected one of bool, 'auto', got sometimes"),
    (FIT + "--matmul_precison high", "did you mean --matmul_precision?"),
    (FIT + "--trainer.max_epoch 4", "did you mean trainer.max_epochs?"),
    (FIT + "--evidence.num_sample 4", "did you mean evidence.num_samples?"),
    (FIT + "--trainer.max_epochs many", "trainer.max_epochs: expected one of int, NoneType, got many"),
    (FIT + "--model.beta four", "model.beta: expected float, got four"),
    (FIT + "--model.latent_dim 2.5", "model.latent_dim: expected int, got 2.5"),
    (FIT + "--data.binarization dynamo", "or 'dynamic', got dynamo"),
    (FIT + "--model.optimizer Adm", "model.optimizer"),
    (FIT + "--model.optimizer Adam --model.optimizer.lrr 1", "unknown key lrr, did you mean lr?"),
    (FIT + "--trainer.callbacks LinearAnealing", "did you mean LinearAnnealing?"),
    (FIT + "--model.beta", "--model"),
    ("fit --model os.system --data Digits", "model: os.system is not allowed here"),
    ("fit --model torch.nn.Linear --data Digits", "model: torch.nn.Linear is no Autoencoder"),
    ("fit --model my_vae.MyVAE --data Digits", "my_vae.MyVAE cannot be imported from the working folder"),
    ("fit --config vae_digit", "did you mean vae_digits?"),
    ("fit --config nothing.yaml", "no config file nothing.yaml"),
    ("fit --config key.yaml", "model: unknown key betaa, did you mean beta?"),
    ("fit --config group.yaml", "'modle', did you mean model?"),
    ("fit --config torn.yaml", "parsing torn.yaml, line 2: while parsing a flow sequence"),
    ("fit --config empty", "no config file empty"),
    ("fit --config numbers", "numbers must hold keys and their values"),
    (FIT + "--model.xyz 4", "model: unknown key xyz: there is beta, "),
    ("fit --config vae_digits --model.betta 4", "model: unknown key betta: there is "),
    ("fit --config vae_digits --data.val_fraction 2", "data: unknown key val_fraction: there is "),
    ("fit --config vae_digits --data.batch_sise 2", "data: unknown key batch_sise, did you mean batch_size?"),
    ("fit --config vae_digits --model.encoder.hiden [9]", "model.encoder: unknown key hiden, did you mean hidden?"),
    (FIT + "--ckpt_path best", "give a path, or last"),
    (FIT + "--seed_everything -4", "seed_everything must lie in 0 .. 4294967295, got -4"),
    (FIT + "--trainer.val_check_interval 0", "trainer.val_check_interval must be positive and finite, got 0"),
    (FIT + "--verbsoe 4", "unknown option --verbsoe"),
    ("fit --config twice.yaml", "twice.yaml: the key model is given twice, in lines 1 and 3: keep one of them."),
    (FIT + "--trainer '{max_epochs: 1, max_epochs: 2}'", "the key max_epochs is given twice, in line 1"),
    ("fit --config list.yaml", "list.yaml: trainer takes keys and their values, got [1]."),
    ("fit --config class.yaml", "class.yaml: data takes the name of a class, or class_path and init_args, got ['x']."),
    ("fit --model 3 --data Digits", "--model takes the name of a class, or class_path and init_args, got 3."),
    *((f"{FIT}--{group} {value}", f"--{group} takes keys and their values, got {value}.") for group, value in GROUPS),
    *((f"{FIT}--{name} 4", f"unknown option --{name}: it is --{meant}") for name, meant in GUESSES),
    ("fit --config guess.yaml", "guess.yaml: unknown key 'lr': it is model.optimizer.lr"),
    ("show BetaVEA", "there is no BetaVEA, did you mean BetaVAE?"),
    ("show", "missing: NAME: see vae-zoo show --help."),
    ("test", "give --ckpt_path PATH"),
    ("predict --model BetaVAE --data Digits", "give --ckpt_path PATH"),
    ("test --ckpt_path nothing.ckpt", "no checkpoint at nothing.ckpt"),
    ("test --ckpt_path garbage.ckpt", "garbage.ckpt is no checkpoint: torch.save has not written it"),
    ("test --ckpt_path foreign.ckpt", "foreign.ckpt is not a checkpoint of vae_zoo"),
    ("test --model BetaVAE --data Digits --ckpt_path last", "no last.ckpt under results/BetaVAE_Digits; give the path"),
    (FIT + "--model.beta -1", "beta must be at least 0 and finite, got -1.0."),
    (FIT + "--model.beta nan", "model.beta: expected float, got nan"),
    (FIT + "--model.latent_dim 0", "latent_dim must be at least 1, got 0."),
    (FIT + "--model.num_samples 0", "num_samples must be at least 1, got 0."),
    (FIT + "--model.encoder.hidden [0]", "hidden widths must be at least 1, got [0]."),
    (FIT + "--data.batch_size 0", "batch_size must be at least 1, got 0"),
    (FIT + "--samples.num 0", "num at least 1"),
    (FIT + "--trainer.callbacks LinearAnnealing", "give either num_steps or num_epochs"),
    (FIT + "--trainer.callbacks+=LinearAnnealing --trainer.callbacks.num_epoch=3", "did you mean num_epochs?"),
    (
        FIT + "--trainer.callbacks+=EarlyStopping --trainer.callbacks.patience=x",
        "callbacks.patience: expected int, got x",
    ),
    (FIT + "--trainer.callbacks+=lightning.Callback --trainer.callbacks.x=3", "lightning.Callback is not allowed here"),
    (FIT + "--trainer.devices 99", "trainer.devices must be between 1 and"),
    (FIT + "--trainer.accelerator cuda", "trainer.accelerator cuda is not available here: there is auto, cpu"),
    (
        FIT + "--model.likelihood Bernoulli --checkpoint.monitor val/elb",
        "monitors val/elb, which nothing logs, did you mean val/elbo",
    ),
    (
        FIT + "--model.likelihood Bernoulli --trainer.limit_train_batches 3 --checkpoint.monitor train/loss",
        "monitors train/loss, which is logged every 50 steps, and an epoch has 3: set trainer.log_every_n_steps to 1.",
    ),
    (
        FIT + "--model.likelihood Bernoulli --trainer.accumulate_grad_batches 4 --trainer.log_every_n_steps 10 "
        "--checkpoint.monitor train/loss",
        "monitors train/loss, which is logged every 10 steps, and an epoch has 6",
    ),
    (FIT + "--model.encoder.hidden.x 3", "model.encoder.hidden: it has no argument x: expected int"),
    (FIT + "--model.prior.x 3", "model.prior: unknown key x: there is none"),
    (FIT + "--trainer.callbacks.num_epochs=3", "trainer.callbacks: give a class before its argument num_epochs"),
    (FIT + "--model.optimizer.lr 1e-3", "model.optimizer: give a class before its argument lr"),
    (FIT + "--model.scheduler.gamma 3", "model.scheduler: give a class before its argument gamma"),
    (FIT + "--model.penalties.weight 3", "model.penalties: give a class before its argument weight"),
    ("fit --model ConvVAE --data Arrays --data.path vectors.npy", "got shape (7,): use Dense."),
    (
        "fit --model VAE --data Arrays --data.path normalised.npy --model.likelihood Bernoulli",
        "Bernoulli needs data in [0, 1], got from",
    ),
    ("fit --model VAE --data Arrays --data.path raw.npy", "divide 8-bit images by 255"),
    ("fit --model VAE --data Arrays --data.path one_raw.npy", "Bernoulli needs data in [0, 1], got from 0 to 255"),
    ("fit --model VAE --data Arrays --data.path nan.npy", "finite"),
    ("fit --model VAE --data Arrays --data.path nothing.npy", "nothing.npy"),
    ("fit --model VAE --data Arrays --data.path garbage.npy", "garbage.npy"),
    ("fit --model VAE --data ImageFolder", "data: missing: folder"),
    ("fit --model VAE --data ImageFolder --data.folder nowhere", "nowhere"),
    ("fit --model VAE --data ImageFolder --data.folder empty", "no images in empty"),
    (FOLDER + "broken", "1 of 8 images cannot be read: broken/zero.png (empty file): mend or remove them, or set bad_"),
    (FOLDER + "broken --data.background mauvve", "background must be a colour such as white or ff8000, got 'mauvve'."),
    (FOLDER + "broken --data.class_depth 2", "class_depth 2 needs images that are 2 folders deep, got broken/0.png."),
    (FIT + "--data.shift 8", "shift must be below the height and width of images of shape (1, 8, 8), got 8."),
    (ARRAYS + "vectors.npy --data.flip true", "flip and shift need images (C, H, W), got examples of shape (7,)."),
    (FOLDER + "broken --data.bad_files hide", "data.bad_files: expected 'error' or 'skip', got hide"),
    (FOLDER + "unreadable --data.bad_files skip", "images cannot be read: unreadable/"),
    ("fit --model VAE --data FreyFaces --data.root empty", "frey_rawface.mat"),
    (FIT + "--model.optimizer Adam --model.optimizer.lr 0", "lr of Adam must be positive, got 0.0"),
    (FIT + "--model.optimizer Adam --model.optimizer.lr -1e-3", "lr of Adam must be positive, got -0.001"),
    (FIT + "--model.encoder 0.5", "model.encoder: expected a class, got the number 0.5"),
    ("fit --model HRQVAE --data Digits --model.temperature 0.5", "model.temperature: expected a class, got the number"),
    (FIT + "--model.optimizer Adam --model.optimizer.lr inf", "model.optimizer.lr: expected a finite number, got inf"),
    (FIT + "--model.optimizer Adam --model.optimizer.lr nan", "model.optimizer.lr: expected a finite number, got nan"),
    (FIT + "--model.beta inf", "model.beta: expected float, got inf"),
    (FIT + "--model.beta -inf", "model.beta: expected float, got -inf"),
    (FIT + "--model.beta .nan", "beta must be at least 0 and finite, got nan"),
    (FIT + "--model.free_bits -1", "free_bits must be at least 0 and finite, got -1.0"),
    (FIT + "--trainer.accumulate_grad_batches 0", "trainer.accumulate_grad_batches must be at least 1"),
    (FIT + "--trainer.max_epochs 0", "trainer.max_epochs 0 trains nothing"),
    (FIT + "--trainer.limit_train_batches 0", "trainer.limit_train_batches 0 trains nothing"),
    (FIT + "--trainer.gradient_clip_val -1", "trainer.gradient_clip_val must be at least 0"),
    (FIT + "--trainer.num_nodes 2", "trainer.num_nodes 2 would wait for ever"),
    (FIT + "--checkpoint.mode most", "checkpoint.mode must be min or max, got most"),
    (FIT + "--trainer.accelerator tpuu", "trainer.accelerator: there is no tpuu, did you mean tpu?"),
    (FIT + "--trainer.devices 0", "trainer.devices must be between 1 and"),
    (FIT + "--trainer.devices -1", "trainer.devices must be between 1 and"),
    (FIT + "--model.shape [3]", "model.shape follows from the data, which say [1, 8, 8], not [3]: leave it out"),
    (FIT + "--data.drop_last true --data.batch_size 5000", "drop_last leaves no batch: 1397 training examples"),
    (FIT + "--data.eval_batch_size 0", "eval_batch_size must be at least 1, got 0"),
    (FIT + "--evidence.num_samples 0", "num_samples must be at least 1, got 0"),
    (FIT + "--trainer.max_steps 3 --trainer.max_epochs 2", "give trainer.max_steps or trainer.max_epochs, not both"),
    (FIT + "--model.posterior MSSSIM", "MSSSIM needs images (C, H, W) of at least 3 x 3 pixels"),
    (FIT + "--latents.every_n_epochs -1", "every_n_epochs must be at least 0"),
    (FIT + "--wandb.projet x", "unknown option --wandb.projet, did you mean --wandb.project?"),
    (FIT + "--trust os", "which is never trusted"),
    ("fit --model BetaTCVAE --data Digits --data.batch_size 1", "BetaTCVAE compares the examples of a batch"),
    ("fit --model IWAE --data Digits --model.num_samples -3", "num_samples must be at least 1, got -3"),
    ("fit --model VAE --data Sprites --data.num_examples 1", "num_examples must lie in 3 .. 737280, got 1"),
    ("fit --model VAE --data Sprites --data.image_size 0", "image_size must be at least 1, got 0"),
    ("fit --model VAE --data MNIST --data.num_val 0", "num_val must be at least 1, got 0"),
    ("fit --model VAE --data DSprites --data.root nowhere", "put the archive of dSprites there"),
    (ARRAYS + "constant.npy", "hold the value 0.5 only: there is nothing to learn from them"),
    (ARRAYS + "int.npy", "int.npy has images of int64: save them as uint8"),
    (ARRAYS + "two.npz", "two.npz has no x: give one of its keys, a, b, as key"),
    (ARRAYS + "two.npz --data.key z", "two.npz has no z: its keys are a, b"),
    (ARRAYS + "torn.npz", "torn.npz is truncated or no .npz file"),
    (ARRAYS + "archive.npy", "archive.npy is truncated or no .npy file"),
    (ARRAYS + "labels.npz", "Labels in labels.npz must have the shape (50,), one an example, got (49,)"),
    (ARRAYS + "rank.npy", "rank.npy must have rank 2 (vectors), 3 (signals or grey images), 4 (images) or 5 (volumes)"),
    (ARRAYS + "words.npy", "words.npy must hold numbers, got an array of <U1"),
    (ARRAYS + "few.npy", "few.npy has 2 examples, too few for train, val, test splits"),
    (ARRAYS + "text.csv", "line 2, column 2 (b) is 'x'"),
    (ARRAYS + "ragged.csv", "ragged.csv is no table of numbers after the header"),
    (ARRAYS + "nan.csv", "not finite, the first at index (0, 1)"),
    ("sample", "one of the arguments --ckpt_path --pretrained is required"),
    ("sample --ckpt_path nothing.ckpt", "no checkpoint at nothing.ckpt"),
    ("export --ckpt_path nothing.ckpt --format onnx", "no checkpoint at nothing.ckpt"),
    ("sweep-run nothing", "no sweep file nothing, and no packaged sweep of that name"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a careless user has lying about."""
    rng = np.random.default_rng(0)
    (tmp_path / "key.yaml").write_text("model: {class_path: BetaVAE, init_args: {betaa: 3}}\ndata: Digits\n")
    (tmp_path / "group.yaml").write_text("modle: BetaVAE\ndata: Digits\n")
    (tmp_path / "twice.yaml").write_text("model: AE\ndata: Digits\nmodel: VAE\n")
    (tmp_path / "list.yaml").write_text("model: AE\ndata: Digits\ntrainer: [1]\n")
    (tmp_path / "class.yaml").write_text("model: AE\ndata: [x]\n")
    (tmp_path / "guess.yaml").write_text("model: AE\ndata: Digits\nlr: 0.1\n")
    (tmp_path / "torn.yaml").write_text("model: [BetaVAE\n")
    (tmp_path / "numbers").write_text("- 1\n- 2\n")
    (tmp_path / "garbage.ckpt").write_text("hello")
    (tmp_path / "garbage.npy").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    np.save(tmp_path / "vectors.npy", rng.random((50, 7), dtype=np.float32))
    np.save(tmp_path / "normalised.npy", rng.normal(size=(50, 8, 8)).astype(np.float32))
    np.save(tmp_path / "raw.npy", rng.integers(0, 256, (50, 8, 8)).astype(np.float32))
    one_raw = np.zeros((2000, 8, 8), dtype=np.float32)  # of all examples, one that is in some later batch
    one_raw[1234] = 255
    np.save(tmp_path / "one_raw.npy", one_raw)
    np.save(tmp_path / "nan.npy", np.full((50, 8, 8), np.nan, dtype=np.float32))
    grey = rng.random((50, 8, 8), dtype=np.float32)
    np.save(tmp_path / "constant.npy", np.full_like(grey, 0.5))
    np.save(tmp_path / "int.npy", rng.integers(0, 9, (50, 8, 8)))
    np.save(tmp_path / "rank.npy", np.zeros((5, 2, 3, 4, 5, 6), np.float32))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "few.npy", grey[:2])
    np.savez(tmp_path / "two.npz", a=grey, b=np.zeros(3))
    np.savez(tmp_path / "labels.npz", x=grey, y=np.zeros(49))
    (tmp_path / "torn.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:200])
    (tmp_path / "archive.npy").write_bytes((tmp_path / "two.npz").read_bytes())
    (tmp_path / "text.csv").write_text("a,b\n1,x\n2,3\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "nan.csv").write_text("a,b\n" + "".join(f"{i}.5,nan\n" for i in range(20)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(tmp_path / "broken" / f"{i}.png")
    (tmp_path / "broken" / "zero.png").touch()
    (tmp_path / "unreadable").mkdir()
    for i in range(9):
        (tmp_path / "unreadable" / f"{i}.png").write_text("no image")
    return tmp_path


@pytest.mark.parametrize(("line", "said"), few(CATALOGUE, 12), ids=[line or "nothing" for line, _ in CATALOGUE])
def test_a_mistake_is_one_line(run: Callable, folder: Path, line: str, said: str) -> None:
    before = sorted(path for path in folder.rglob("*"))
    outcome = run(*shlex.split(line))
    assert outcome.code == 2
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("vae-zoo: error: ")
    assert said in lines[0]
    assert len(lines[0]) <= WIDTH
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_users_own_empty_folder_stays(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for root in ("mine", "new/one"):
        assert run(*shlex.split(FIT + f"--model.latent_dim 0 --trainer.default_root_dir {root}")).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_traceback_is_there_for_who_asks(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_ZOO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="latent_dim must be at least 1"):
        run(*shlex.split(FIT + "--model.latent_dim 0"))


@pytest.mark.exhaustive
def test_errors_in_a_users_own_code_keep_their_traceback(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "bug_vae.py").write_text(
        "from vae_zoo.models import VAE\n\n\n"
        "class BugVAE(VAE):\n    def objective(self, elbo):\n        return {'loss': int('x')}\n"
    )
    with pytest.raises(ValueError, match="invalid literal"):
        run(*shlex.split("fit --model bug_vae.BugVAE --data Digits"))
    assert not (tmp_path / "results").exists()


def test_long_messages_are_cut() -> None:
    assert len("vae-zoo: error: " + one_line("word " * 100)) <= WIDTH
    assert one_line("a\n  b") == "a b"


def test_a_wrong_argument_without_its_class_is_not_blamed_on_the_base_class() -> None:
    report = """Parser key "trainer.callbacks":
  Does not validate against any of the Union subtypes
  Errors:
    - Parser key "num":
        Expected a <class 'int'>. Got value: x
    - Problem with given class_path 'lightning.Callback':
        Importing 'lightning.Callback' is not allowed, denied by an entry.
    - Parser key "num":
        Expected a <class 'int'>. Got value: x
  Given value: """
    assert explain(report + "NestedArg(key='num', val='x')") == "trainer.callbacks.num: expected int, got x"
    assert "lightning.Callback is not allowed" in explain(report + "lightning.Callback")


def test_explain_keeps_what_it_does_not_know() -> None:
    assert explain("something else") == "something else"
